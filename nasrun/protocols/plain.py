"""Turn frozen records into plain values for JSON and back, as their annotations declare."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from nasrun.genotypes.genotype import Genotype


def to_plain(value: Any) -> Any:
    """Return dictionaries, lists and scalars; fields that are `None` are kept."""
    if isinstance(value, Genotype):
        return value.to_json()
    if is_dataclass(value):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    return [to_plain(one) for one in value] if isinstance(value, tuple | list) else value


def from_plain(hint: Any, value: Any) -> Any:
    """Make a value of the declared type; unknown keys are left out.

    Raises:
        TypeError: the plain value is none of that type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:  # one kind or None
        return None if value is None else from_plain(arguments[0], value)
    if hint is Genotype:
        return Genotype.from_json(value)
    if is_dataclass(hint) and isinstance(value, Mapping):
        assert isinstance(hint, type)
        hints = typing.get_type_hints(hint)
        known = {name: one for name, one in value.items() if name in hints}
        return hint(**{name: from_plain(hints[name], one) for name, one in known.items()})
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(from_plain(arguments[0], one) for one in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {str(key): from_plain(arguments[1], one) for key, one in value.items()}
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    raise TypeError(f"{value!r:.80} is not of the type {hint}")

"""Compare a plain value with a declared type and range, and say in words what it should be."""

from __future__ import annotations

import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

from nasrun.errors import brief
from nasrun.protocols.settings import (
    AtMost,
    Below,
    Divides,
    Location,
    Matches,
    Meaning,
    OneOf,
    ReadWith,
    Unit,
)

LARGEST = 10**6  # a whole number at most, where no upper end is declared; fits into some machine
FAR = 1_000  # an upper end from here on is no help to one who has typed 0
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Range:
    """The bounds of a number; `None` where there is none. A strict bound is itself left out."""

    low: float | None = None
    high: float | None = None
    strict_low: bool = False
    strict_high: bool = False

    @classmethod
    def of(cls, hint: Any) -> Range:
        """Read the range from the metadata of an annotated type, or of the members of a union."""
        low = high = None
        strict = [False, False]
        for meta in _metadata(hint):
            if isinstance(meta, Ge | Gt):
                low, strict[0] = meta.ge if isinstance(meta, Ge) else meta.gt, type(meta) is Gt
            if isinstance(meta, Le | Lt):
                high, strict[1] = meta.le if isinstance(meta, Le) else meta.lt, type(meta) is Lt
        return cls(low, high, strict[0], strict[1])  # type: ignore[arg-type]

    def has(self, value: float) -> bool:
        above = self.low is None or (value > self.low if self.strict_low else value >= self.low)
        below = self.high is None or (value < self.high if self.strict_high else value <= self.high)
        return above and below

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            left, right = "(" if self.strict_low else "[", ")" if self.strict_high else "]"
            return f"in {left}{self.low:,}, {self.high:,}{right}"
        if self.low is not None:
            return f"{'above' if self.strict_low else 'at least'} {self.low:,}"
        return f"{'below' if self.strict_high else 'at most'} {self.high:,}"


def problem(key: str, value: Any, hint: Any) -> str | None:
    """Say why a setting cannot have a value; `None` where it can."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if fits(value, member)]
        found = [problem(key, value, member) for member in members]
        if found:
            return None if None in found else found[-1]
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            return f"{key}={number} is not a finite number"
    shown = "null" if value is None else brief(value)
    if not fits(value, hint):
        return f"{key}={shown} must be {describe(hint)}"
    for meta in _metadata(hint):
        if isinstance(meta, MinLen) and len(value) < meta.min_length:
            return f"{key}={shown} must be a list of at least {meta.min_length} values"
        if isinstance(meta, MaxLen) and len(value) > meta.max_length:
            return f"{key}={shown} must be a list of at most {meta.max_length} values"
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        bounds = Range.of(_element(hint) if isinstance(value, list | tuple) else hint)
        most = LARGEST if bounds.high is None else bounds.high
        if isinstance(number, int) and abs(number) > most and not bounds.strict_high:
            text = f"{number:,}" if abs(number) < 10**30 else "a number of many digits"
            return f"{key}={text} is too large: it can be at most {most:,}"
        if not bounds.has(number):
            far = bounds.high is not None and bounds.high >= FAR
            allowed = Range(bounds.low, None, bounds.strict_low) if far else bounds
            return f"{key}={shown} must be {allowed}"
    return None


def missing(value: Any, hint: Any) -> str | None:
    """Return what is not there of a place that has to exist before a run: `file`, `folder`."""
    for meta in _metadata(hint):
        if isinstance(meta, Location) and meta.existing and isinstance(value, str):
            path = os.path.expanduser(value)
            there = os.path.isdir(path) if meta.existing == "folder" else os.path.exists(path)
            return None if there else meta.existing
    return None


def is_place(hint: Any) -> bool:
    """Whether a setting says where a file or folder is."""
    return any(isinstance(meta, Location) for meta in _metadata(hint))


def switch_of(hint: Any) -> str | None:
    """Return the setting without which this one is not read; `None` where it always is."""
    return next((meta.other for meta in _metadata(hint) if isinstance(meta, ReadWith)), None)


def relations(
    values: Mapping[str, Any], hints: Mapping[str, Any], key_of: Callable[[str], str]
) -> Iterator[tuple[str, str]]:
    """Yield key and sentence of each setting that does not stand to another one as declared."""
    for name, hint in hints.items():
        for meta in _metadata(hint):
            if not isinstance(meta, AtMost | Below | Divides):
                continue
            value, other = values.get(name), values.get(meta.other)
            if not isinstance(value, int | float) or not isinstance(other, int | float):
                continue  # not given, or of a wrong type, which is said elsewhere
            key, other_key = key_of(name), key_of(meta.other)
            if isinstance(meta, Divides):
                if value > 0 and other % value:
                    fitting = other + value - other % value
                    text = f"{other_key}={other} cannot be divided by {key}={value}"
                    yield key, f"{text}: type {other_key}={fitting}, or {key}=1"
            elif value > other or (value == other and isinstance(meta, Below)):
                word = "at most" if isinstance(meta, AtMost) else "below"
                yield key, f"{key}={value} must be {word} {other_key}={other}"


def fits(value: object, hint: Any) -> bool:
    """Return whether a plain value from YAML is of the declared type, whatever its range."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is typing.Annotated:
        return fits(value, arguments[0]) and all(_allows(meta, value) for meta in arguments[1:])
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if Callable in (hint, origin):
        return isinstance(value, Mapping) and "_target_" in value
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(fits(v, arguments[0]) for v in value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _allows(meta: object, value: Any) -> bool:
    """Return whether what is declared beside a type of text allows a value."""
    if isinstance(meta, Matches):
        return re.fullmatch(meta.pattern, value) is not None
    return value in meta.choices if isinstance(meta, OneOf) else True


def describe(hint: Any) -> str:
    """Say in words what a value should be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        for meta in arguments[1:]:
            if isinstance(meta, Meaning):
                return meta.text
            if isinstance(meta, OneOf):
                return " or ".join(meta.choices)
        return describe(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if hint is None or hint is type(None):
        return "null"
    if Callable in (hint, origin):
        return "an option of the group of that name"
    return NAMES.get(hint) or ("a list" if origin else str(hint))


def choices(hint: Any) -> list[str]:
    """List the words that a setting can be, as they are typed; empty for numbers and free texts.

    >>> choices(Literal["batch", "running"] | None), choices(bool), choices(int | None)
    (['batch', 'running', 'null'], ['true', 'false'], [])
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [word for one in arguments if one is not type(None) for word in choices(one)]
        return [*words, "null"] if words and type(None) in arguments else words
    if origin is Literal:
        return [str(word) for word in arguments]
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return list(hint.__members__)
    named = [word for meta in _metadata(hint) if isinstance(meta, OneOf) for word in meta.choices]
    return ["true", "false"] if hint is bool else named


def declaration(hint: Any) -> str:
    """Write type, range and unit of a setting for a table: `number > 0 (s) or null`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(declaration, arguments))
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return " or ".join(hint.__members__)
    kind = arguments[0] if origin is typing.Annotated else hint
    if typing.get_origin(kind) in (list, tuple, Sequence):
        return f"list{_length(hint)}: {declaration(typing.get_args(kind)[0])}"
    text = describe(hint).removeprefix("a ") + _bounds(Range.of(hint))
    for meta in _metadata(hint):
        if isinstance(meta, AtMost | Below | Divides):
            word = {AtMost: "at most", Below: "below", Divides: "divides"}[type(meta)]
            text += f", {word} {meta.other}"
    units = [meta.name for meta in _metadata(hint) if isinstance(meta, Unit)]
    return text + "".join(f" ({unit})" for unit in units)


def _length(hint: Any) -> str:
    """Say how long a list can be; nothing where any length will do."""
    least = [meta.min_length for meta in _metadata(hint) if isinstance(meta, MinLen)]
    most = [meta.max_length for meta in _metadata(hint) if isinstance(meta, MaxLen)]
    if least and least == most:
        return f" of {least[0]}"
    return "".join([*(f" of ≥ {one}" for one in least), *(f" of ≤ {one}" for one in most)])


def _bounds(bounds: Range) -> str:
    """Write the bounds of a number as signs; nothing where there are none."""
    if bounds.low is not None and bounds.high is not None:
        is_closed = not (bounds.strict_low or bounds.strict_high)
        return f" {bounds.low:,} to {bounds.high:,}" if is_closed else f" {bounds}"
    if bounds.low is not None:
        return f" {'>' if bounds.strict_low else '≥'} {bounds.low:,}"
    if bounds.high is not None:
        return f" {'<' if bounds.strict_high else '≤'} {bounds.high:,}"
    return ""


def _metadata(hint: Any) -> Iterator[Any]:
    """Yield what is declared beside the type, for all members of a union."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        for meta in arguments[1:]:  # an interval and a length are groups of two
            yield from meta if isinstance(meta, GroupedMetadata) else [meta]
        yield from _metadata(arguments[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _metadata(argument)


def _element(hint: Any) -> Any:
    """Return the declared type of the values of a list."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _element(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return next((_element(a) for a in arguments if typing.get_args(a)), Any)
    return arguments[0] if arguments else Any

"""Decide whether two configurations mean the same run, and say where they differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from nasrun.config.schema import RunConfig

LATER = ("objective", "constraint.", "metric", "budget.label_epochs", "proxy")
"""Keys that earlier runs do not have: null means what these runs did, so it decides nothing."""
MOST_NAMED = 8  # differences that a message names


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of all in nested mappings and dataclasses; lists are values."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def decisive(config: RunConfig) -> dict[str, Any]:
    """Return dotted key and plain value of all that decides the result."""
    irrelevant = ("name", "sweep.on_error", "on_oom", "evaluator.workers")
    found = {
        key: value
        for key, value in leaves(config)
        if key not in irrelevant and key.partition(".")[0] != "tracker"
    }
    unused = [key for key in found if key.startswith(LATER) and found[key] is None]
    return {key: found[key] for key in found if key not in unused}


def signature(config: RunConfig) -> str:
    """Return a checksum of all that decides the result; equal signatures mean the same run."""
    return signature_of(decisive(config))


def signature_of(settings: Mapping[str, Any]) -> str:
    """Return the signature of `decisive` settings, in their order."""
    return hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which of the `decisive` settings differ, and how.

    >>> differences({"seed": 0, "a": 1}, {"seed": 2, "a": 1, "b": None})
    'seed was 0 and is 2, b was not there and is None'
    """
    absent = "not there"
    keys = [key for key in {**old, **new} if old.get(key, absent) != new.get(key, absent)]
    parts = [f"{key} was {old.get(key, absent)} and is {new.get(key, absent)}" for key in keys]
    more = [f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return ", ".join(parts[:MOST_NAMED] + more)

"""Tests wait for conditions; only one limit, that no working machine comes near, ends a wait."""

from __future__ import annotations

import time
from collections.abc import Callable

GUARD_S = 600.0


def until(fact: Callable[[], bool]) -> None:
    """Return when it is a fact; fails where it never becomes one."""
    ends = time.monotonic() + GUARD_S
    while not fact():
        assert time.monotonic() < ends, "it has not become a fact"
        time.sleep(0.01)

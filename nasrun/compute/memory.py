"""Measure how much memory there is, so that what cannot fit is refused before it is asked for."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nasrun.errors import UsageError

CONTAINER_LIMITS = (  # where control groups of version 2 and 1 say their limit
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_bytes() -> int:
    """Return the memory of the machine, or less where the process is limited to less."""
    return min(_limits())


def _limits() -> Iterator[int]:
    """Yield all limits that hold for this process, in bytes."""
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            yield int(path.read_text(encoding="utf-8"))


def shortage(num_bytes: int) -> str | None:
    """Say in words that so many bytes are too many; `None` where there is room for them."""
    there = memory_bytes()
    if num_bytes <= there:
        return None
    return f"{_gigabytes(num_bytes)} of memory, and this machine has {_gigabytes(there)}"


def require_memory(num_bytes: int, what: str) -> None:
    """Raise a `UsageError` where `what` needs more memory than there is."""
    lacking = shortage(num_bytes)
    if lacking is not None:
        raise UsageError(f"{what} would take {lacking}")


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes < 10**15 else "more than a million GB"

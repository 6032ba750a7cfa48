"""Measure memory, and limit it so that an allocation fails in good time."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")  # limits of a container, or of a scheduler's job
PROCESS = Path("/proc/self/statm")


def available() -> int | None:
    """Return the bytes this process could still take; `None` where the system does not say."""
    found = [_free_on_machine(), _free_in_group()]
    return min((free for free in found if free is not None), default=None)


def _free_on_machine() -> int | None:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_in_group() -> int | None:
    limit = "".join(_lines(GROUP / "memory.max"))
    if not limit.isdigit():
        return None
    used = int("".join(_lines(GROUP / "memory.current")))
    cache = [line.split()[1] for line in _lines(GROUP / "memory.stat") if "inactive_file" in line]
    return int(limit) - used + sum(map(int, cache[:1]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def peak() -> int:
    """Return the most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def limited(num_bytes: int | None) -> Iterator[None]:
    """Make an allocation of more than so many further bytes fail, within the context.

    Otherwise the system would end the process without a word.
    """
    lines = _lines(PROCESS)
    if num_bytes is None or not lines:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    taken = int(lines[0].split()[5]) * resource.getpagesize()
    limits = [limit for limit in (hard, taken + num_bytes) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

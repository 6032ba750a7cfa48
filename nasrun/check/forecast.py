"""Forecast from what a rehearsal measured what the whole run will take."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nasrun.check import memory

NUM_CHECKPOINTS = 3  # the last two, and the one that is being written
TOO_FULL = 0.9


@dataclass
class Part:
    """A piece of work in steps: a search, a floor, a retraining.

    Args:
        name, unit: for people.
        num_steps: how many steps there would have been, where that is known.
        stretch: how many steps of the whole run one of these stands for.
        num_plain: the first steps, where the others of the whole run are like these alone; 0 where
            all of it is stretched.
        limit_s: budget.seconds.
        steps_s: seconds of each rehearsed step, with what was left out of it.
        real_s: seconds that these steps took in the rehearsal.
        growing_bytes: size of the files that grow with the steps.
        checkpoint_bytes: size of the checkpoint.
        losses: losses of the trainings in the steps, where there were any.
    """

    name: str
    unit: str = "step"
    num_steps: int | None = None
    stretch: float = 1.0
    num_plain: int = 0
    limit_s: float = math.inf
    steps_s: list[float] = field(default_factory=list)
    real_s: float = 0.0
    growing_bytes: int = 0
    checkpoint_bytes: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return the seconds of the whole part.

        Steps that were not rehearsed are as long as the last quarter of those that were.
        """
        if not self.steps_s:
            return 0.0
        last = self.steps_s[-math.ceil(len(self.steps_s) / 4) :]
        num_missing = max(0, (self.num_steps or 0) - len(self.steps_s))
        whole = sum(self.steps_s) + num_missing * sum(last) / len(last)
        if plain := self.steps_s[: self.num_plain]:
            num_more = (self.stretch - 1) * max(len(self.steps_s), self.num_steps or 0)
            whole += num_more * sum(plain) / len(plain)
        else:
            whole *= self.stretch
        return min(whole, self.limit_s + max(last))

    @property
    def share(self) -> float:
        """Return how many times as many steps the whole run has as were rehearsed."""
        done = max(1, len(self.steps_s))
        return max(1.0, (self.num_steps or done) / done) * self.stretch

    @property
    def steps(self) -> str:
        total = "unknown" if self.num_steps is None else f"{round(self.num_steps * self.stretch):,}"
        units = "children" if self.unit == "child" else f"{self.unit}s"
        return f"{total} {units}, of which {len(self.steps_s)} were rehearsed"


@dataclass(frozen=True)
class Forecast:
    """What a whole run will take.

    Args:
        rest_s: seconds for building, pictures and the test.
        label_s: seconds of a true evaluation; `None` where there are none.
        memory_bytes: the most memory that all processes take together.
        device_bytes: the most memory of a GPU that one process takes; `None` without a GPU.
        num_workers: processes besides the first, in which candidates are trained.
    """

    parts: tuple[Part, ...]
    rest_s: float
    label_s: float | None
    memory_bytes: int
    device_bytes: int | None
    num_workers: int
    disk_bytes: int

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts) + self.rest_s

    def rows(self, folder: Path) -> Iterator[tuple[str, str, str]]:
        """Yield (what is used, how much of it, what the figure rests on)."""
        for part in self.parts:
            yield part.name, duration(part.seconds), part.steps
        if self.label_s is not None and self.label_s > 0.01:  # labels of a table cost nothing
            yield "one label", duration(self.label_s), "part of the search"
        yield "the rest", duration(self.rest_s), "building, pictures, test"
        yield "together", duration(self.seconds), ""
        there = memory.available()
        workers = f"with {self.num_workers} workers" if self.num_workers > 0 else ""
        free = "" if there is None else f"{size(there)} more free"
        yield "memory", size(self.memory_bytes), ", ".join(filter(None, [workers, free]))
        if self.device_bytes is not None:
            yield "GPU memory", size(self.device_bytes), "for each worker" if workers else ""
        yield "disk", size(self.disk_bytes), f"{size(free_disk(folder))} free"


def disk_bytes(parts: Sequence[Part], other_bytes: int) -> int:
    """Return the size of a run folder while a checkpoint is being written."""
    growing = sum(round(part.growing_bytes * part.share) for part in parts)
    checkpoints = max((part.checkpoint_bytes for part in parts), default=0)
    return NUM_CHECKPOINTS * checkpoints + growing + other_bytes


def disk_faults(folder: Path, num_bytes: int) -> Iterator[str]:
    """Yield a fault where the run needs more disk space than there is."""
    free = free_disk(folder)
    if num_bytes > TOO_FULL * free:
        yield (
            f"the run needs {size(num_bytes)} of disk space, and {size(free)} are free in "
            f"{folder}: make room, or choose a hydra.run.dir elsewhere"
        )


def free_disk(folder: Path) -> int:
    """Return the bytes that are free in a folder, which need not be there yet."""
    folder = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(folder).free


def size(num_bytes: float) -> str:
    """Format a number of bytes.

    >>> size(2_500_000), size(31.0 * 2**30)
    ('2.4 MB', '31.0 GB')
    """
    units = ("kB", "MB", "GB", "TB")
    value, unit = num_bytes / 1024, units[0]
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    return f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Format seconds in units of time.

    >>> duration(0.25), duration(71.6), duration(90061)
    ('0.25 s', '1 min 12 s', '25 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {rest} min"

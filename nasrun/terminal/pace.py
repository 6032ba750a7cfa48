"""Estimate when work ends, from how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """How fast work goes since it began, `done` of it having been done before.

    A step may take hours, so nothing is forgotten: the estimate is that of the mean pace.

    Args:
        clock: gives seconds.
    """

    def __init__(self, done: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._at = clock()
        self._first = self._done = done

    @property
    def seconds(self) -> float:
        """Return how long it has gone on."""
        return self._clock() - self._started

    def reached(self, done: float) -> None:
        """Note that so much is done now; a part of a step counts as such."""
        if done != self._done:
            self._done, self._at = done, self._clock()

    def remaining(self, total: float | None) -> float | None:
        """Return the seconds that are left of `total`; `None` where that cannot be said yet."""
        made = self._done - self._first
        if total is None or made <= 0:
            return None
        expected = (self._at - self._started) / made * (total - self._done)
        return max(0.0, expected - (self._clock() - self._at))


class Tally:
    """How many of the jobs of a sweep have ended, one after the other.

    Args:
        total: how many there are.
        done: how many had ended before the sweep was resumed.
        clock: gives seconds.
    """

    def __init__(
        self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.done = total, done
        self.pace = Pace(done, clock)

    def add(self, number: int = 1) -> None:
        """Count jobs that have ended."""
        self.done += number
        self.pace.reached(self.done)

    @property
    def place(self) -> str:
        """Say which job runs now: `4 of 15`."""
        return f"{min(self.done + 1, self.total)} of {self.total}"

    def __str__(self) -> str:
        left = eta(self.pace.remaining(self.total)) if self.done < self.total else ""
        return f"{self.done} of {self.total} jobs" + (f", {left}" if left else "")


def duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> duration(75), duration(3675)
    ('1:15', '1:01:15')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def eta(seconds: float | None) -> str:
    """Format the seconds that are left; empty where they are not known.

    >>> eta(75), eta(None)
    ('ETA 1:15', '')
    """
    return "" if seconds is None else f"ETA {duration(seconds)}"

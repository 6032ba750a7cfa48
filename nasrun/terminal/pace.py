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

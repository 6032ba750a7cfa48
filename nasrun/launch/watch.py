"""Show the jobs that run at once in one view, read from their folders, wherever they run."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from nasrun.compute import cancellation
from nasrun.runs.progress import Progress, progress_of
from nasrun.runs.sweep import Job, differing, ended_with
from nasrun.terminal import console
from nasrun.terminal.pace import Pace, eta
from nasrun.terminal.progress import Board

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_NOTICE = 10.0  # that the main thread may take to end after a signal
SECONDS_BETWEEN_LINES = 30.0  # where there is no terminal
ENDED = ("done", "failed")


class Watch:
    """A thread that looks at the jobs from time to time, within a context.

    On a terminal it draws the running ones; elsewhere a line says from time to time how far they
    are. Beginnings and ends are told in both.

    Args:
        why_they_wait: says why jobs are not running yet, where that is known.
    """

    def __init__(self, jobs: Sequence[Job], why_they_wait: Callable[[], str] = str) -> None:
        self._why_they_wait = why_they_wait
        self._settings = dict(zip((job.number for job in jobs), differing(jobs), strict=True))
        self._left = list(jobs)
        self._states = {job.number: _state(job) for job in jobs}
        self._paces: dict[tuple[int, str], Pace] = {}  # of each phase, since it was first seen
        self._ended: Counter[str] = Counter()
        self._said = self._noted_at = time.monotonic()
        self._pace = Pace()
        self._board = Board()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._tell()
        self._board.close()

    def _watch(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            self._tell()
            self._show()
            self._remind()

    def _remind(self) -> None:
        """Raise a signal anew that the main thread, which waits in a launcher, has not heard."""
        number = cancellation.noted()
        if number is None:
            self._noted_at = time.monotonic()
        elif time.monotonic() - self._noted_at > SECONDS_TO_NOTICE:
            self._noted_at = time.monotonic()
            _thread.interrupt_main(signal.Signals(number))

    def _tell(self) -> None:
        """Say which jobs have begun or ended since the last look."""
        for job in self._left:
            state = _state(job)
            if state == self._states[job.number]:
                continue
            before, self._states[job.number] = self._states[job.number], state
            if state == "running":
                verb = "" if before == "" else " goes on"
                console.say(f"job {job.number}{verb}: {' '.join(job.overrides)}")
            elif state == "done":
                console.say(f"job {job.number} is done{ended_with(job.result())}")
            elif state == "failed":
                console.complain(f"job {job.number} failed: {job.record().get('error')}")
            self._ended[state] += state in ENDED
        self._left = [job for job in self._left if self._states[job.number] not in ENDED]

    def _show(self) -> None:
        running = [job for job in self._left if self._states[job.number] == "running"]
        progress = {job.number: progress_of(job.folder) for job in running}
        foot = self._foot(progress)
        if self._board.is_live:
            self._board.draw([self._row(job, progress[job.number]) for job in running], foot)
        elif time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            console.say(foot)

    def _row(self, job: Job, progress: Progress | None) -> tuple[str, str, str, float | None, str]:
        name, gloss = f"job {job.number}", self._settings[job.number]
        if progress is None:
            return name, gloss, "starts", None, ""
        return name, gloss, str(progress), progress.share, self._eta(job, progress)

    def _eta(self, job: Job, progress: Progress) -> str:
        """Estimate when a job ends, from the pace of this phase since it was first seen."""
        pace = self._paces.setdefault((job.number, progress.phase), Pace(progress.done))
        pace.reached(progress.done)
        return eta(pace.remaining(progress.total))

    def _foot(self, progress: dict[int, Progress | None]) -> str:
        """Sum up all jobs in a line.

        How long they take is known from those that are done, and from how far others are.
        """
        number = len(self._states)
        shares = [one.share or 0.0 for one in progress.values() if one is not None]
        self._pace.reached(sum(self._ended.values()) + sum(shares))
        left = eta(self._pace.remaining(number))
        failed = f", {self._ended['failed']} failed" if self._ended["failed"] else ""
        num_waiting = len(self._left) - len(progress)
        why = self._why_they_wait() if num_waiting else ""
        return (
            f"{self._ended['done']} of {number} jobs done{failed}, {len(progress)} running, "
            f"{num_waiting} waiting{f' ({why})' if why else ''}{left and f', {left}'}"
        )


def _state(job: Job) -> str:
    return str(job.record().get("status", ""))

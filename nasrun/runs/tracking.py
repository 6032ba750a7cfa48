"""Hand on to a tracker what a run records, from a thread of its own: the run never waits for it."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.errors import UsageError, brief, one_line
from nasrun.protocols.tracker import Figures, Outcome, TrackedRun, Tracker
from nasrun.runs.folder import RunFolder
from nasrun.runs.json_lines import read_lines

if TYPE_CHECKING:
    import numpy as np

FILE = "tracker.json"
PATIENCE_S = 30.0  # for a tracker that begins, or takes the rest at the end
SHORT_PATIENCE_S = 5.0  # of a person who has pressed Ctrl-C
PAUSE_S = 1.0  # between calls, so that many short steps are one
MOST_WAITING = 20_000  # steps that a tracker has not taken yet
MOST_PICTURES = 50  # while so much waits, pictures are left out
MOST_BYTES = 10_000_000  # of a file that a tracker is given
KEPT = ("*.json", "*.jsonl", "*.svg", "*.png", "*.log", ".hydra/*.yaml")
NOT_KEPT = (FILE, "progress.json", "run.json")  # the last two tell of a run that is not over


class Tracking:
    """Take what a tracker is told, where there is none."""

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Record the scalars of a step."""

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        """Record a picture."""

    def trouble(self) -> str | None:
        """Return once why nothing is recorded any more; `None` while all is well."""

    def end(self, outcome: Outcome) -> None:
        """Hand on what is left; doing so twice is harmless."""


@dataclass(frozen=True)
class _Picture:
    step: int
    name: str
    image_HWC: np.ndarray


class TrackerThread(Tracking):
    """Hands on to a tracker. Whatever goes wrong there is told by `trouble`, and never raised.

    A run that is resumed goes on with the tracker's run that its folder names. The tracker gets
    what `metrics.jsonl` has and the tracker has not, and no step twice.

    Args:
        option: what the tracker is called in `conf/tracker`.
        patience_s: how long it may take to begin and to end.
    """

    def __init__(
        self,
        tracker: Tracker,
        option: str,
        folder: RunFolder,
        run: TrackedRun,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._tracker, self._option = tracker, option
        self._folder, self._run = folder, run
        self._patience_s = patience_s
        self._waiting: queue.SimpleQueue[Figures | _Picture | Outcome] = queue.SimpleQueue()
        self._last: dict[str, int] = {}  # metric -> its last step
        self._goes_on = False
        self._kept: Mapping[str, str] = {}
        self._trouble: str | None = None
        self._told = False
        self._has_begun, self._is_ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"tracker {option}", daemon=True)
        self._thread.start()
        if not self._has_begun.wait(patience_s):
            self._fail(f"it has not begun within {patience_s:g} s")

    @property
    def place(self) -> str:
        """Say where the run is recorded."""
        return ", ".join(f"{key} {value}" for key, value in self._kept.items())

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        self._put(Figures(step, dict(values), time.time()))

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        if self._waiting.qsize() < MOST_PICTURES:
            self._put(_Picture(step, name, image_HWC))

    def trouble(self) -> str | None:
        if self._trouble is None or self._told:
            return None
        self._told = True
        return f"tracker={self._option} has stopped ({self._trouble}); the run goes on without it"

    def end(self, outcome: Outcome) -> None:
        if self._is_ending.is_set():
            return
        self._put(outcome)
        self._is_ending.set()
        if self._trouble is None:
            stopped = outcome == "interrupted"
            patience_s = min(SHORT_PATIENCE_S, self._patience_s) if stopped else self._patience_s
            self._thread.join(patience_s)
            if self._thread.is_alive():
                self._fail(f"it has not taken all of it within {patience_s:g} s")

    def _put(self, what: Figures | _Picture | Outcome) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            self._fail("it is slower than the run")
        if self._trouble is None:
            self._waiting.put(what)

    def _fail(self, why: str) -> None:
        self._trouble = self._trouble or why

    # -- what the thread does

    def _work(self) -> None:
        try:
            self._begin()
            self._has_begun.set()
            outcome = None
            while outcome is None and self._trouble is None:
                outcome = self._hand_on(self._taken())
            if outcome is not None:
                self._tracker.end(outcome, small_files(self._folder.path))
        except Exception as error:  # whatever it is, it must not end a search
            self._fail(why(error))
        finally:
            self._has_begun.set()

    def _begin(self) -> None:
        known = _known(self._folder)
        self._goes_on = bool(known)
        self._kept = self._tracker.begin(self._run, known)
        if self._kept != known:
            self._folder.write_json(FILE, dict(self._kept))
        self._hand_on(_recorded(self._folder.path))

    def _taken(self) -> Iterator[Figures | _Picture | Outcome]:
        """Yield what waits, at least one; what comes within a short while is taken with it."""
        yield self._waiting.get()
        self._is_ending.wait(PAUSE_S)
        while not self._waiting.empty():
            yield self._waiting.get()

    def _hand_on(self, items: Iterator[Figures | _Picture | Outcome]) -> Outcome | None:
        """Hand on what the tracker does not have; return how the run ended, if it did."""
        rows, outcome = list[Figures](), None
        for item in items:
            if isinstance(item, Figures):
                values = {
                    name: value for name, value in item.values.items() if self._is_new(name, item)
                }
                rows += [Figures(item.step, values, item.time_s)] if values else []
            elif isinstance(item, _Picture):
                if self._is_new(item.name, item):
                    self._tracker.picture(item.step, item.name, item.image_HWC)
            else:
                outcome = item
        if rows:
            self._tracker.figures(rows)
        return outcome

    def _is_new(self, metric: str, item: Figures | _Picture) -> bool:
        if metric not in self._last:
            last = self._tracker.last_step(metric) if self._goes_on else None
            self._last[metric] = -1 if last is None else last
        new = item.step > self._last[metric]
        self._last[metric] = max(item.step, self._last[metric])
        return new


def answered(work: Callable[[], None], patience_s: float = PATIENCE_S) -> str | None:
    """Do something in a thread; return why it failed, and `None` where it did not."""
    failed: list[str] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:
            failed.append(why(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        return f"it does not answer within {patience_s:g} s"
    return failed[0] if failed else None


def why(error: Exception) -> str:
    """Write an error of a library as a part of a sentence."""
    return brief(one_line(str(error).strip()) or repr(error), 200)


def small_files(folder: Path) -> dict[str, Path]:
    """Return the files of a run that a tracker may keep, by their names in the folder."""
    found = {str(path.relative_to(folder)): path for one in KEPT for path in folder.glob(one)}
    return {
        name: path
        for name, path in sorted(found.items())
        if name not in NOT_KEPT and path.is_file() and path.stat().st_size <= MOST_BYTES
    }


def _known(folder: RunFolder) -> Mapping[str, str]:
    """Return what finds the tracker's run again; empty for a run that it does not know."""
    if not (folder.path / FILE).is_file():
        return {}
    known = folder.read_json(FILE)
    if not isinstance(known, dict) or not all(isinstance(one, str) for one in known.values()):
        raise UsageError(f"{folder.path / FILE} is damaged")
    return known


def _recorded(folder: Path) -> Iterator[Figures]:
    """Yield what a run that is resumed has recorded; damaged lines are left out."""
    for line in read_lines(folder / "metrics.jsonl")[0]:
        phase, step = line.pop("phase", None), line.pop("step", None)
        if not isinstance(phase, str) or type(step) is not int:
            continue
        known = {name: math.nan if value is None else value for name, value in line.items()}
        values = {f"{phase}/{name}": v for name, v in known.items() if isinstance(v, int | float)}
        yield Figures(step, values, time.time())

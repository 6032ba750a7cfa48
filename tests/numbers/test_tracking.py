"""What a tracker is handed: nothing twice, nothing late, and no failure of it reaches the run."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.launch import tracker as tracker_of
from nasrun.protocols.tracker import Figures, Outcome, TrackedRun
from nasrun.runs import tracking
from nasrun.runs.folder import RunFolder
from nasrun.runs.recorder import recorder_of
from nasrun.runs.tracking import FILE, TrackerThread, answered, small_files
from tests.compose import composed
from tests.waiting import until

RUN = TrackedRun("a", None, {"seed": 0}, {"space": "toy"})
BLACK = np.zeros((1, 1, 3), np.uint8)


class Memory:
    """A tracker that keeps everything in lists; of a resumed run it knows `before`."""

    needs = ()

    def __init__(self, before: Mapping[str, int] = {}) -> None:
        self.before = before
        self.calls: list[Sequence[Figures]] = []
        self.pictures: list[tuple[int, str]] = []
        self.ends: list[tuple[Outcome, list[str]]] = []
        self.asked: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def reach(self) -> None: ...

    def begin(self, run: TrackedRun, known: Mapping[str, str]) -> Mapping[str, str]:
        self.go.wait()
        return known or {"run": "1"}

    def last_step(self, metric: str) -> int | None:
        self.asked.append(metric)
        return self.before.get(metric)

    def figures(self, rows: Sequence[Figures]) -> None:
        self.go.wait()
        self.calls.append(rows)

    def picture(self, step: int, name: str, image_HWC: np.ndarray) -> None:
        self.pictures.append((step, name))

    def end(self, outcome: Outcome, files: Mapping[str, Path]) -> None:
        self.ends.append((outcome, list(files)))

    @property
    def points(self) -> list[tuple[int, str, float]]:
        rows = [row for call in self.calls for row in call]
        return [(row.step, name, one) for row in rows for name, one in row.values.items()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr(tracking, "PAUSE_S", 0.0)
    return RunFolder(tmp_path)


def begun(memory: Any, folder: RunFolder, **settings: Any) -> TrackerThread:
    return TrackerThread(memory, "memory", folder, RUN, **settings)


def test_a_run_is_handed_on_in_order_and_ended_once(folder: RunFolder) -> None:
    memory = Memory()
    thread = begun(memory, folder)
    assert json.loads((folder.path / FILE).read_text()) == {"run": "1"}
    for step in (1, 2):
        thread.picture(step, "cells/search", BLACK)
        thread.figures(step, {"search/loss": 1 / step, "search/seconds": 0.5})
    thread.figures(0, {"final/test_accuracy": 0.75})
    (folder.path / "result.json").write_text("{}")
    thread.end("done")
    thread.end("failed")
    assert memory.points == [
        (1, "search/loss", 1.0), (1, "search/seconds", 0.5), (2, "search/loss", 0.5),
        (2, "search/seconds", 0.5), (0, "final/test_accuracy", 0.75),
    ]  # fmt: skip
    assert memory.pictures == [(1, "cells/search"), (2, "cells/search")]
    assert memory.ends == [("done", ["result.json"])]
    assert memory.asked == []  # a new run has nothing to be asked about
    assert thread.trouble() is None


def test_a_resumed_run_gets_what_it_has_missed_and_no_step_twice(folder: RunFolder) -> None:
    """The tracker has steps 1 and 2, the record 1 to 3, and steps 3 and 4 are done again."""
    (folder.path / FILE).write_text('{"run": "7"}')
    lines = [{"phase": "search", "step": step, "loss": 10 - step} for step in (1, 2, 3)]
    lines[2]["tau"] = None  # as a NaN is written
    text = "".join(f"{json.dumps(line)}\n" for line in lines) + '{"phase": "sea'
    (folder.path / "metrics.jsonl").write_text(text)
    memory = Memory({"search/loss": 2})
    thread = begun(memory, folder)
    thread.figures(3, {"search/loss": 7.0})
    thread.figures(4, {"search/loss": 6.0})
    thread.end("done")
    steps = [(step, name) for step, name, _ in memory.points]
    assert steps == [(3, "search/loss"), (3, "search/tau"), (4, "search/loss")]
    assert [one for _, name, one in memory.points if name == "search/loss"] == [7, 6]
    assert math.isnan(next(one for _, name, one in memory.points if name == "search/tau"))
    assert sorted(memory.asked) == ["search/loss", "search/tau"]


def test_many_short_steps_are_one_call(folder: RunFolder) -> None:
    memory = Memory()
    thread = begun(memory, folder)
    memory.go.clear()
    for step in range(1, 1001):
        thread.figures(step, {"search/loss": 0.0})
    memory.go.set()
    thread.end("done")
    assert len(memory.points) == 1000
    assert len(memory.calls) <= 3


def test_a_tracker_that_hangs_is_left_behind(folder: RunFolder) -> None:
    memory = Memory()
    thread = begun(memory, folder, patience_s=0.05)
    memory.go.clear()
    for step in range(200):
        thread.figures(step, {"search/loss": 0.0})
        thread.picture(step, "cells/search", BLACK)
    thread.end("done")
    assert thread.trouble() == (
        "tracker=memory has stopped (it has not taken all of it within 0.05 s); the run goes on "
        "without it"
    )
    assert thread.trouble() is None  # told once
    memory.go.set()


def test_one_that_does_not_begin_is_not_waited_for(folder: RunFolder) -> None:
    memory = Memory()
    memory.go.clear()
    thread = begun(memory, folder, patience_s=0.05)
    assert "it has not begun within 0.05 s" in str(thread.trouble())
    thread.figures(1, {"search/loss": 0.0})
    memory.go.set()
    until(lambda: not thread._thread.is_alive())
    assert (memory.calls, memory.ends) == ([], [])


def test_one_that_is_too_slow_does_not_fill_the_memory(folder: RunFolder, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "MOST_WAITING", 100)
    monkeypatch.setattr(tracking, "MOST_PICTURES", 10)
    memory = Memory()
    thread = begun(memory, folder)
    memory.go.clear()
    thread.figures(0, {"search/loss": 0.0})
    until(lambda: thread._waiting.empty())  # it is stuck with the first
    for step in range(1, 50):
        thread.picture(step, "cells/search", BLACK)
    assert thread._waiting.qsize() == 10
    for step in range(1, 200):
        thread.figures(step, {"search/loss": 0.0})
    assert thread._waiting.qsize() == 100
    assert "it is slower than the run" in str(thread.trouble())
    memory.go.set()


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(None, "done"), (KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted"),
     (ValueError, "failed")],
)  # fmt: skip
def test_a_recorder_says_how_the_run_ended(folder: RunFolder, kind: Any, outcome: str) -> None:
    memory, first = Memory(), SimpleNamespace(is_first=True)
    recorder: Any = recorder_of(folder, "search", first, lambda it: begun(memory, it))  # type: ignore[arg-type]
    try:
        with recorder:
            recorder.scalars("search", 1, {"loss": 2.0})
            if kind is not None:
                raise kind
    except (KeyboardInterrupt, SystemExit, ValueError):
        pass
    assert [one for one, _ in memory.ends] == [outcome]
    assert memory.points == [(1, "search/loss", 2.0)]


def test_a_failure_is_told_once_and_the_files_go_on(folder: RunFolder) -> None:
    class Failing(Memory):
        def figures(self, rows: Sequence[Figures]) -> None:
            raise ConnectionError("no route to host")

    said: list[str] = []
    thread = begun(Failing(), folder)
    first: Any = SimpleNamespace(is_first=True)
    with recorder_of(folder, "search", first, lambda _: thread, said.append) as recorder:
        recorder.scalars("search", 1, {"loss": 2.0})
        until(lambda: thread._trouble is not None)
        for step in (2, 3):
            recorder.scalars("search", step, {"loss": 2.0})
    warning = "warning: tracker=memory has stopped (no route to host); the run goes on without it"
    assert said == [warning]
    assert (folder.path / "search.log").read_text().count(warning) == 1
    assert len((folder.path / "metrics.jsonl").read_text().splitlines()) == 3


def test_another_process_of_a_group_records_nothing(folder: RunFolder) -> None:
    def begin(_: RunFolder) -> Any:
        raise AssertionError

    other: Any = SimpleNamespace(is_first=False)
    with recorder_of(folder, "search", other, begin) as recorder:
        recorder.scalars("search", 1, {"loss": 2.0})
    typed = to_typed(composed(["tracker=mlflow"]), SearchConfig)
    wiring: Any = SimpleNamespace(device=SimpleNamespace(group=other))
    assert tracker_of.of_run(typed, composed(["tracker=mlflow"]), {}, wiring, "search") is None


def test_weights_and_large_files_stay_in_the_run_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "MOST_BYTES", 10)
    (tmp_path / ".hydra").mkdir()
    for name in ("result.json", "run.json", "progress.json", FILE, "cells.svg", "model.pt",
                 "checkpoint.pt", ".hydra/config.yaml", "search.log"):  # fmt: skip
        (tmp_path / name).write_text("x" * (11 if name == "search.log" else 10))
    assert list(small_files(tmp_path)) == [".hydra/config.yaml", "cells.svg", "result.json"]


def test_what_hangs_or_fails_before_a_run_is_said() -> None:
    def fail() -> None:
        raise OSError("refused\nby the server")

    stuck = threading.Event()
    assert answered(lambda: None) is None
    assert answered(fail) == "refused by the server"
    assert answered(lambda: stuck.wait() and None, 0.01) == "it does not answer within 0.01 s"
    stuck.set()

"""A signal ends the work also where Python drops the exception that its handler raises."""

from __future__ import annotations

import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nasrun.compute import cancellation
from nasrun.compute.workers import Workers
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.launch import watch
from nasrun.launch.interruption import terminated_as_interrupted
from nasrun.launch.watch import Watch
from nasrun.runs.sweep import Job
from nasrun.training import loop
from tests.compose import composed
from tests.contracts.test_interruption import SMALL, search
from tests.made_workers import make
from tests.waiting import until


@pytest.fixture(autouse=True)
def dropped(monkeypatch) -> Iterator[list[str]]:
    """The exceptions that Python could not raise."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: found.append(it.exc_type.__name__))
    yield found
    cancellation.forget()


class Deaf:
    """Whoever is told to stop while this object goes does not hear it."""

    def __del__(self) -> None:
        lose()


def lose() -> None:
    before = len(lost)
    lost.append("")
    os.kill(os.getpid(), signal.SIGTERM)
    until(lambda: len(lost) == before)  # never: the handler's exception ends the wait


lost: list[str] = []


def in_del() -> None:
    Deaf()
    gc.collect()


def in_a_callback() -> None:
    class Thing:
        pass

    thing = Thing()
    kept.append(weakref.ref(thing, lambda _: lose()))
    del thing
    gc.collect()


kept: list[Any] = []


@pytest.mark.parametrize("lose_it", [in_del, in_a_callback])
def test_a_signal_that_python_drops_ends_the_work_at_the_next_look(
    lose_it: Callable[[], None], dropped: list[str]
) -> None:
    with terminated_as_interrupted():
        lose_it()
        assert dropped == ["KeyboardInterrupt"]
        with pytest.raises(KeyboardInterrupt):
            cancellation.look()
    assert cancellation.noted() is None


def test_the_outer_of_two_contexts_keeps_the_signal(dropped: list[str]) -> None:
    with terminated_as_interrupted():
        with terminated_as_interrupted():
            in_del()
        with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
            raise AssertionError("the next job of a sweep must not begin")
    assert cancellation.noted() is None


def test_a_run_ends_within_a_batch(tmp_path, monkeypatch, dropped: list[str]) -> None:
    """A retraining trains in the same loop."""
    original, batches = loop._gradients, list[int]()

    def gradients(*arguments: Any) -> Any:
        batches.append(0)
        if len(batches) == 2:
            in_del()
        return original(*arguments)

    monkeypatch.setattr(loop, "_gradients", gradients)
    settings = to_typed(composed(["strategy=egnas", *SMALL, "dataset.batch_size=16"]), SearchConfig)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        search(tmp_path / "run", settings)
    assert dropped == ["KeyboardInterrupt"]
    assert len(batches) == 2


def test_whoever_waits_for_workers_looks_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("nasrun.compute.workers.LOOK_EVERY_S", 0.01)
    workers = Workers(make, 1)
    answers = workers.answers([("wait", "never", str(tmp_path / "mark"))])
    original = workers._heard

    def heard() -> Iterator[Any]:
        if (tmp_path / "mark").exists():
            in_del()
        return original()

    monkeypatch.setattr(workers, "_heard", heard)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        list(answers)
    assert workers._workers == [None]


def test_a_launcher_that_has_not_heard_is_told_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(watch, "SECONDS_TO_NOTICE", -1.0)
    monkeypatch.setattr("nasrun.launch.interruption.PATIENCE_S", -1.0)
    view = Watch([Job(0, tmp_path, ["seed=0"])])
    with terminated_as_interrupted():
        view._remind()  # there is nothing to be told
        in_del()
        with pytest.raises(KeyboardInterrupt):
            view._remind()

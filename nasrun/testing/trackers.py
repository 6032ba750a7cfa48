"""What every tracker promises: it records locally without a server, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.protocols.tracker import Figures, TrackedRun, Tracker
from nasrun.testing.contract import Contract, composed

RUN = TrackedRun(
    "0-s3",
    "2026-11-30/12-00-00",
    {"strategy": "egnas", "strategy.sigma": 0.3, "budget.seconds": None, "space.steps": [1, 2]},
    {"strategy": "egnas", "space": "toy", "dataset": "digits", "seed": "3"},
)
LOSS = "search/train_loss"


def made(name: str) -> Tracker:
    """Build a tracker with its default settings; skip the test where its packages are not there."""
    node = to_typed(composed([f"tracker={name}"]), SearchConfig).tracker
    tracker: Tracker = plugins.build(node)
    for package in tracker.needs:
        pytest.importorskip(package)
    return tracker


class TrackerContract(Contract):
    """All that a tracker promises; `group` is that of trackers."""

    group = "tracker"

    def test_a_run_that_is_resumed_goes_on_as_the_same_run(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        first = made(name)
        first.reach()
        known = first.begin(RUN, {})
        assert known
        assert all(isinstance(one, str) for one in known.values())
        first.figures([Figures(step, {LOSS: 2.0 / step}, 1e9 + step) for step in (1, 2)])
        first.picture(1, "cells/search", np.zeros((4, 6, 3), np.uint8))
        first.end("interrupted", {})
        second = made(name)
        assert second.begin(RUN, known) == known
        assert second.last_step(LOSS) == 2
        assert second.last_step("retrain/loss") is None
        second.figures([Figures(3, {LOSS: float("nan"), "retrain/loss": 1.0}, 1e9 + 3)])
        (tmp_path / "log.txt").write_text("done")
        second.end("done", {"log.txt": tmp_path / "log.txt"})
        third = made(name)
        third.begin(RUN, known)
        assert (third.last_step(LOSS), third.last_step("retrain/loss")) == (3, 3)
        third.end("done", {})

    def test_two_runs_of_one_name_are_two(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        found = []
        for step in (1, 2):
            tracker = made(name)
            found.append(tracker.begin(RUN, {}))
            tracker.figures([Figures(step, {LOSS: 1.0}, 1e9)])
            tracker.end("done", {})
        assert found[0] != found[1]
        again = made(name)
        again.begin(RUN, found[0])
        assert again.last_step(LOSS) == 1
        again.end("done", {})

"""Every strategy's run, broken off in the middle of its work and of its writing, ends as if it had
been left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.drive import open_session
from nasrun.engine.search import run_search
from nasrun.engine.wiring import Wiring
from nasrun.protocols.labels import Labels
from nasrun.runs import checkpoint
from nasrun.runs.folder import RunFolder
from nasrun.storage import tensor_cache
from nasrun.terminal.progress import Display
from nasrun.training.update import WeightUpdate
from tests.commands.pictures import without_pictures
from tests.compose import composed, methods

SMALL = ["space=toy", "dataset=synthetic", "budget=smoke", "retrain=smoke", "dataset.num_train=64"]
SMALL += ["evaluator.epochs=1", "budget.evaluations=6"]
QUICK = {"contrast_steps": 20, "num_epochs": 5, "num_architectures": 64}  # of a predictor


class Broken(BaseException):
    """Nobody may catch it, as nobody catches SIGKILL."""


class Events:
    """Counts writes, weight updates and labels, and breaks off at the chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.last = 0, -1
        for owner, name in (
            (RunFolder, "in_words"),  # around each write
            (WeightUpdate, "step"),
            (Labels, "_buy"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.last:
                raise Broken
            return method(*arguments)

        return call

    def until(self, last: int) -> None:
        self.count, self.last = 0, last


@pytest.fixture
def events(monkeypatch) -> Events:
    without_pictures(monkeypatch)
    monkeypatch.setattr(checkpoint, "MAX_SHARE_OF_TIME", float("inf"))  # one after each step
    monkeypatch.setattr(tensor_cache, "cached", lambda recipe, make: make())
    return Events(monkeypatch)


def settings_of(strategy: str) -> SearchConfig:
    config = composed([f"strategy={strategy}", *SMALL])
    for key in QUICK.keys() & {*(config.predictor or {})}:
        config.predictor[key] = min(QUICK[key], config.predictor[key])
    return to_typed(config, SearchConfig)


def search(folder: Path, settings: SearchConfig) -> None:
    wiring = Wiring(settings)
    with (
        RunFolder(folder) as run,
        open_session(wiring, run, "search", Display(quiet=True)) as session,
    ):
        run_search(wiring, settings, session)


def outcome(folder: Path) -> dict[str, list[Any]]:
    """What the files say, apart from times."""
    found = {}
    for name in ("result.json", "genotype.json", "metrics.jsonl", "evaluations.jsonl"):
        text = (folder / name).read_text() if (folder / name).exists() else ""
        lines = text.splitlines() if name.endswith("jsonl") else [text]
        found[name] = [without_times(json.loads(line)) for line in lines]
    return found


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        names = [name for name in value if "second" not in name and name != "cost_s"]
        return {name: without_times(value[name]) for name in names}
    return value


@pytest.mark.parametrize("strategy", methods("strategy"))
def test_what_is_broken_off_and_resumed_ends_as_if_left_alone(
    strategy: str, events: Events, tmp_path: Path
) -> None:
    settings = settings_of(strategy)
    search(tmp_path / "twin", settings)
    expected, total = outcome(tmp_path / "twin"), events.count
    for share in (0.3, 0.6):  # of the work, in each attempt
        events.until(round(share * total))
        with pytest.raises(Broken):
            search(tmp_path / "run", settings)
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    events.until(-1)
    search(tmp_path / "run", settings)
    assert outcome(tmp_path / "run") == expected

"""What every strategy promises, asked of it on a space that is tiny."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.genotype import Genotype
from nasrun.testing.contract import Contract, composed

MOST_STEPS = 20  # of strategies without an end
Metrics = Mapping[str, float]


def wired(strategy: str, seed: int = 0) -> Wiring:
    """Make the parts of a small search with a strategy."""
    overrides = [f"strategy={strategy}", "space=toy", "dataset=synthetic", "budget=smoke"]
    config = composed([*overrides, f"seed={seed}", "dataset.num_train=64"])
    if config.predictor is not None and "contrast_steps" in config.predictor:
        config.predictor.contrast_steps = min(20, config.predictor.contrast_steps)
    return Wiring(to_typed(config, SearchConfig))


def run(wiring: Wiring, steps: int | None = None) -> list[Metrics]:
    """Return the metrics of each step, without times."""
    strategy = wiring.strategy
    reports: list[Metrics] = []
    while not strategy.finished and len(reports) < (steps or MOST_STEPS):
        metrics = strategy.step().metrics
        reports.append({k: v for k, v in metrics.items() if "second" not in k})
    return reports


@dataclass(frozen=True)
class Whole:
    """A run from its first step to its last, and what it found."""

    wiring: Wiring
    reports: list[Metrics]
    front: tuple[Genotype, ...]


@functools.cache
def whole(name: str) -> Whole:
    """Run with a dataset that has no test split: any look at it would fail."""
    wiring = wired(name)
    wiring.dataset.test = None  # type: ignore[assignment, misc]
    return Whole(wiring, run(wiring), wiring.strategy.best())


class StrategyEnds(Contract):
    """A search comes to an end, with a result."""

    def test_it_ends_with_finite_metrics_and_a_result_of_the_space(self, name: str) -> None:
        made = whole(name)
        total = made.wiring.strategy.total_steps
        assert made.reports
        assert total is None or len(made.reports) == total
        assert all(math.isfinite(value) for report in made.reports for value in report.values())
        assert made.front
        for genotype in made.front:
            made.wiring.space.validate(genotype)


class StrategyRepeats(Contract):
    """The seed decides a search, and a checkpoint holds all of it."""

    def test_same_seed_same_trajectory_and_another_seed_another(self, name: str) -> None:
        again = wired(name)
        assert run(again) == whole(name).reports
        assert again.strategy.best() == whole(name).front
        assert run(wired(name, seed=1)) != whole(name).reports

    def test_a_restored_strategy_goes_on_as_if_nothing_had_happened(
        self, name: str, tmp_path: Path
    ) -> None:
        expected, first = whole(name).reports, wired(name)
        half = len(expected) // 2 + 1
        run(first, steps=half)
        state = {"work": first.strategy.state_dict(), "streams": first.streams.state_dict()}
        torch.save(state, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)  # no objects are unpickled
        second = wired(name)
        second.strategy.load_state_dict(state["work"])
        second.streams.load_state_dict(state["streams"])
        assert run(second) == expected[half:]
        assert second.strategy.best() == whole(name).front


class StrategyContract(StrategyEnds, StrategyRepeats):
    """All that a strategy promises; `group` is that of strategies."""

    group = "strategy"

    def test_it_says_what_a_step_is(self, name: str) -> None:
        kind = plugins.target(composed([f"strategy={name}"]).strategy)
        assert kind.unit
        assert kind.step_cost

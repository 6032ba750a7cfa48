"""What every strategy promises, asked of each option of `conf/strategy` on a space that is tiny."""

from __future__ import annotations

import math

import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from tests.compose import composed, options

STRATEGIES = options("strategy")


def wired(strategy: str, seed: int = 0) -> Wiring:
    overrides = [f"strategy={strategy}", "space=toy", "dataset=synthetic", "budget=smoke"]
    overrides += [f"seed={seed}", "dataset.num_train=64"]
    config = composed(overrides)
    if config.predictor is not None and "contrast_steps" in config.predictor:
        config.predictor.contrast_steps = min(20, config.predictor.contrast_steps)
    return Wiring(to_typed(config, SearchConfig))


def run(wiring: Wiring, steps: int | None = None) -> list[dict[str, float]]:
    """Metrics of each step, without times; at most 20 steps for strategies without an end."""
    strategy = wiring.strategy
    reports = []
    while not strategy.finished and len(reports) < (steps or 20):
        metrics = strategy.step().metrics
        reports.append({k: v for k, v in metrics.items() if "second" not in k})
    return reports


@pytest.mark.parametrize("name", STRATEGIES)
def test_same_seed_same_trajectory_and_another_seed_another(name: str) -> None:
    first, second, other = wired(name), wired(name), wired(name, seed=1)
    reports = run(first)
    assert reports
    assert run(second) == reports
    assert run(other) != reports
    assert first.strategy.best() == second.strategy.best()


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_result_belongs_to_the_space(name: str) -> None:
    wiring = wired(name)
    run(wiring)
    front = wiring.strategy.best()
    assert front
    for genotype in front:
        wiring.space.validate(genotype)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_restored_strategy_goes_on_as_if_nothing_had_happened(name: str, tmp_path) -> None:
    whole = wired(name)
    expected = run(whole)
    first = wired(name)
    run(first, steps=len(expected) // 2 + 1)
    state = {"work": first.strategy.state_dict(), "streams": first.streams.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)  # no objects are unpickled
    second = wired(name)
    second.strategy.load_state_dict(state["work"])
    second.streams.load_state_dict(state["streams"])
    assert run(second) == expected[len(expected) // 2 + 1 :]
    assert second.strategy.best() == whole.strategy.best()


@pytest.mark.parametrize("name", STRATEGIES)
def test_metrics_are_finite_numbers_and_steps_end(name: str) -> None:
    wiring = wired(name)
    total = wiring.strategy.total_steps
    reports = run(wiring)
    assert total is None or len(reports) == total
    assert all(math.isfinite(value) for report in reports for value in report.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_test_data_is_never_touched(name: str) -> None:
    wiring = wired(name)
    wiring.dataset.test = None  # type: ignore[misc]  # any use of it fails
    assert run(wiring)

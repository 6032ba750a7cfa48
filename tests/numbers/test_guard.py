"""The guard calls a collapse by its name, says each thing once, and is silent of healthy steps."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.guard import Guard
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.strategies.egnas.egnas import EGNAS
from nasrun.strategies.gradient.darts import DARTS
from tests.compose import composed

OPERATIONS = ("none", "skip_connect", "conv_3x3")
HEALTHY = {"weights_step": 0.1, "picked_gain": 0.2, "loss_signal": 3.0, "fitness_loss_tau": 0.8}


def report(strongest: list[int], **metrics: float) -> StepReport:
    weights = {"cell": torch.eye(3)[strongest]}
    return StepReport({**HEALTHY, **metrics}, weights=weights)


def edges_into_the_last(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(name, node, 3) for node, name in enumerate(names))


def test_a_healthy_step_is_not_commented() -> None:
    assert Guard().look_at(report([1, 1, 2, 2]), OPERATIONS) == []


def test_a_step_without_alpha_is_not_judged() -> None:
    warm_up = StepReport({}, weights={"cell": torch.eye(3)[[1, 1]]})
    assert Guard().look_at(warm_up, OPERATIONS) == []


@pytest.mark.parametrize(
    ("kind", "strongest", "words"),
    [("skip", [1, 1, 1, 2], "3 of 4 edges in alpha"), ("none", [0, 0, 0, 0], "4 of 4 edges")],
)
def test_a_dominant_operation_is_named_once(kind: str, strongest: list[int], words: str) -> None:
    guard = Guard()
    (warning,) = guard.look_at(report(strongest), OPERATIONS)
    assert f"collapse into {kind}" in warning
    assert words in warning
    assert guard.look_at(report(strongest), OPERATIONS) == []
    assert Guard(**asdict(guard)).look_at(report(strongest), OPERATIONS) == []  # after a resume


def test_the_derived_cell_counts_where_alpha_hides_it() -> None:
    edges = edges_into_the_last(*["skip_connect"] * 3)
    genotype = Genotype("test", (Cell("cell", ("a", "b", "c", "d"), edges),))
    healthy = report([1, 2, 2, 2])
    derived = StepReport(healthy.metrics, incumbent=genotype, weights=healthy.weights)
    (warning,) = Guard().look_at(derived, OPERATIONS)
    assert "3 of 3 edges of the derived cell are" in warning


def test_a_collapse_that_has_passed_is_not_the_results() -> None:
    guard = Guard()
    early, late = (
        Genotype("test", (Cell("cell", ("a", "b", "c", "d"), edges_into_the_last(*names)),))
        for names in (["skip_connect"] * 3, ["skip_connect", "conv_3x3", "conv_3x3"])
    )
    remedies = {"collapse": "train less"}
    step = StepReport(HEALTHY, incumbent=early, weights=report([1, 2, 2]).weights)
    (told,) = guard.look_at(step, OPERATIONS, remedies, "epoch 3")
    assert told == (
        "collapse into skip: 3 of 3 edges of the derived cell are skip connections (epoch 3); "
        "train less"
    )
    assert guard.in_the_end(early, OPERATIONS) == (told,)
    assert guard.in_the_end(late, OPERATIONS) == (
        f"{told}; the result is without it: 1 of 3 edges",
    )


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("weights_step", 0.0005, "alpha hardly moves"),
        ("picked_gain", -0.1, "worse than alpha"),
        ("loss_signal", 0.5, "0.5 times their noise"),
        ("fitness_spread", 0.0, "the fitness is the same for all candidates"),
        ("fitness_loss_tau", 0.1, "the loss hardly decides"),
    ],
)
def test_each_sign_has_its_words(metric: str, value: float, words: str) -> None:
    guard = Guard()
    bad = report([2, 2, 1, 2], **{metric: value})
    assert not any(guard.look_at(bad, OPERATIONS) for _ in range(2))  # may be bad luck
    (warning,) = guard.look_at(bad, OPERATIONS)
    assert words in warning


def test_picks_are_called_worse_only_where_they_are_in_each_of_the_last_steps() -> None:
    """Their mean is below 0 half of the time where they are as good as alpha."""
    guard = Guard()
    for gain in (-0.3, -0.3, 0.1, -0.3, -0.3):
        assert guard.look_at(report([2, 2, 1, 2], picked_gain=gain), OPERATIONS) == []
    (warning,) = guard.look_at(report([2, 2, 1, 2], picked_gain=-0.3), OPERATIONS)
    assert "their loss is 0.3 higher on average" in warning


def test_of_a_flat_fitness_only_that_is_said() -> None:
    """Its tau is 0, and to lower fitness.eta, the remedy for that, would change nothing."""
    guard, flat = Guard(), report([2, 2, 1, 2], fitness_spread=0.0, fitness_loss_tau=0.0)
    told = [guard.look_at(flat, OPERATIONS, EGNAS.remedies) for _ in range(5)]
    (warning,) = [text for texts in told for text in texts]
    assert warning.endswith("chance; raise fitness.zeta or fitness.eta")


def test_the_strategy_names_the_remedy_and_nobody_hears_of_another_method() -> None:
    resting = report([2, 2, 1, 2], weights_step=0.0005)
    for strategy, word in ((EGNAS, "strategy.xi"), (DARTS, "strategy.alpha_learning_rate")):
        guard = Guard()
        told = [guard.look_at(resting, OPERATIONS, strategy.remedies) for _ in range(3)]
        assert told[2][0].endswith("; raise " + word + " or strategy.sigma" * (strategy is EGNAS))


def test_alpha_that_stops_after_a_good_start_is_told() -> None:
    guard = Guard()
    steps = [0.05] * 5 + [0.0] * 3
    told = [guard.look_at(report([2, 2, 1, 2], weights_step=one), OPERATIONS) for one in steps]
    assert [bool(one) for one in told] == [False] * 7 + [True]


def test_a_metric_that_is_not_finite_is_passed_over() -> None:
    guard = Guard()
    for signal in (0.5, float("nan"), 0.5):
        assert guard.look_at(report([2, 2, 1, 2], loss_signal=signal), OPERATIONS) == []
    (warning,) = guard.look_at(report([2, 2, 1, 2], loss_signal=0.5), OPERATIONS)
    assert "their noise" in warning


def test_a_search_driven_into_skip_is_called_so_within_two_epochs() -> None:
    """Every candidate is scored by what it leaves to the skip connections."""
    overrides = ["space=nasbench201", "dataset=synthetic", "dataset.num_train=64", "strategy=egnas"]
    overrides += ["strategy.warmup=0", "strategy.xi=3", "population.size=25", "fitness.eta=0"]
    wiring = Wiring(to_typed(composed(overrides), SearchConfig))
    strategy, operations = wiring.strategy, wiring.space.operations
    skip = operations.index("skip_connect")
    original = strategy.scorer.score

    def loves_skip(candidates, batch, statistics):
        scores = original(candidates, batch, statistics)
        share_N = np.array([float(one.weights["cell"][:, skip].mean()) for one in candidates])
        return type(scores)(scores.loss_N * 0 + 10 * (1 - share_N), share_N, None)

    strategy.scorer.score = loves_skip
    guard = Guard()
    warned = [guard.look_at(strategy.step(), operations) for _ in range(2)]
    assert any("collapse into skip" in text for texts in warned for text in texts)

"""Supernets that are built on request, and the searches that build several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.darts_pt import DARTSPT
from tests.made_egnas import TRAINING
from tests.numbers.test_darts import wired

SIZES = ("space.channels=4", "space.cells=1", "space.partial_channels=1")


def scorer(wiring: Any, **settings: Any) -> Any:
    return wiring.scorer(num_epochs=1, batch_size=None, training=TRAINING, **settings)


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_a_second_supernet_inherits_the_weights_whose_shapes_agree(space: str) -> None:
    wiring = wired(f"space={space}", *SIZES)
    first = scorer(wiring)
    active = {
        name: torch.ones(shape, dtype=torch.bool)
        for name, shape in wiring.space.alpha_shapes.items()
    }
    for active_EO in active.values():
        active_EO[:, -1] = False  # the last operation is not built
    second = scorer(wiring, cells=2, active=active, inherited=first.named_weights())
    old, new = first.named_weights(), second.named_weights()
    alike = {name for name in new if name in old and new[name].shape == old[name].shape}
    assert any("stem" in name for name in alike)
    assert alike < set(new)  # the second cell is new
    assert all(torch.equal(new[name], old[name]) for name in alike)
    assert not any(new[name].data_ptr() == old[name].data_ptr() for name in alike)


def test_skips_are_dropped_in_training_alone_and_from_batch_to_batch() -> None:
    """The mean of a dropped skip is itself; a probability of 0 drops nothing."""
    wiring = wired("space=nasbench201", *SIZES)
    made = scorer(wiring, skip_dropout=0.5)
    skip_EO = torch.zeros(6, 5)
    skip_EO[:, wiring.space.operations.index("skip_connect")] = 1.0
    images, _ = made.draw_batch(8)

    def passes(statistics: str) -> list[Any]:
        return [
            made.supernet(images, Mixture({"cell": skip_EO}), statistics=statistics) for _ in "12"
        ]

    assert not torch.equal(*passes("update"))
    assert torch.equal(*passes("batch"))
    made.drop_skips(0.0)
    assert torch.equal(*passes("update"))


def scored_by(strategy: Any, worth: Any) -> None:
    """Put the accuracy `worth(mixture)` in the place of that of the supernet."""

    def score(candidates: Any, batch: Any) -> Scores:
        accuracy_N = np.array([float(worth(one)) for one in candidates])
        return Scores(1.0 - accuracy_N, accuracy_N)

    strategy.scorer.score = score


def test_darts_pt_keeps_the_operation_whose_loss_hurts_most_whatever_alpha_says() -> None:
    """Weights .1, .2, .3, .4 of worths 4, 1, 1, .5: what is lost is .4, .2, .3 and .2."""
    strategy = wired("space=toy", "strategy=darts_pt").strategy
    assert isinstance(strategy, DARTSPT)
    with torch.no_grad():
        strategy.alpha["cell"][1] = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    scored_by(strategy, lambda one: one.weights["cell"][1] @ torch.tensor([4.0, 1.0, 1.0, 0.5]))
    strategy.choose_operation("cell", 1)
    assert strategy.kept["cell"].tolist() == [[True] * 4, [True, False, False, False], [True] * 4]
    assert strategy.mixing_weights()["cell"][1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert strategy.mixing_weights()["cell"][0].tolist() != [1.0, 0.0, 0.0, 0.0]


def test_darts_pt_drops_the_edges_that_are_missed_least_until_two_are_left() -> None:
    strategy = wired("space=darts", "strategy=darts_pt", *SIZES).strategy
    assert [len(rows) for rows in strategy.nodes] == [3, 4, 5]
    assert strategy.num_decisions == 14 + 3
    value_E = torch.arange(14.0).flip(0)
    value_E[5] = 0.5
    scored_by(strategy, lambda one: one.gates["normal"] @ value_E)
    strategy.choose_edges("normal", strategy.nodes[1])  # rows 5 to 8, worth .5, 7, 6, 5
    assert strategy.gates["normal"].tolist() == [1.0] * 5 + [0.0, 1.0, 1.0, 0.0] + [1.0] * 5
    cell = strategy.best()[0].cell("normal")
    assert {edge.source for edge in cell.edges_into(4)} == {1, 2}
    del strategy.scorer.score
    strategy.follow(strategy.scorer.gradient(strategy.mixture(), strategy.scorer.draw_batch(8)))


@pytest.mark.parametrize("method", ["darts_pt"])
def test_it_finds_the_optimum_of_the_toy_space(method: str) -> None:
    words = ("space=toy", f"strategy={method}", "budget.epochs=6", "dataset.batch_size=16")
    wiring = wired(*words, "strategy.alpha_learning_rate=0.1", "dataset.num_train=256")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"


@pytest.mark.parametrize("method", ["darts_pt"])
def test_it_runs_on_a_landscape(method: str, made_table: str) -> None:
    wiring = wired(f"strategy={method}", "space=nasbench201", "evaluator=table", made_table,
                   "dataset=cifar10", "retrain=none", "evaluator.accuracy_floor=0.4")  # fmt: skip
    strategy = wiring.strategy
    scorings = 0.0
    while not strategy.finished:
        found = strategy.step().metrics["scorings"]
        assert found >= scorings  # those on the supernets before are not forgotten
        scorings = found
    wiring.space.validate(strategy.best()[0])

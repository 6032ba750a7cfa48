"""Shapley-NAS: the values of small games by hand, and what alpha makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.networks.toy import GAINS_EO
from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.shapley_nas import ShapleyNAS, contributed, standardised
from tests.compose import composed

TOY = ("strategy=shapley_nas", "space=toy", "dataset=synthetic", "dataset.num_train=64")


def strategy_of(*words: str) -> ShapleyNAS:
    wiring = Wiring(to_typed(composed([*TOY, "budget=smoke", *words]), SearchConfig))
    strategy = wiring.strategy
    assert isinstance(strategy, ShapleyNAS)
    return strategy


def test_the_mean_over_all_orders_is_the_shapley_value() -> None:
    """By the formula, player 0 has (1 + 0)/3 + [(4 - 2) + (3 - 0)]/6 + (6 - 2)/3 = 2.5, player 1
    has 2/3 + [(4 - 1) + (2 - 0)]/6 + (6 - 3)/3 = 2.5, and player 2 the rest of 6."""
    worth = {"": 0, "0": 1, "1": 2, "2": 0, "01": 4, "02": 3, "12": 2, "012": 6}
    contributions = []
    for order in itertools.permutations(range(3)):
        worths = [worth["".join(map(str, sorted(order[taken:])))] for taken in range(4)]
        contributions.append(contributed(order, worths))
    np.testing.assert_allclose(np.mean(contributions, axis=0), [2.5, 2.5, 1.0])


def play(strategy: ShapleyNAS, worth: Callable[[Tensor], float]) -> None:
    """Let a set of operations be worth what a function of the ones that are there says."""

    def score(candidates: Sequence[Mixture], *_: Any) -> Scores:
        worth_N = np.array([worth((one.weights["cell"] > 0).float()) for one in candidates])
        return Scores(-worth_N, worth_N)

    strategy.scorer.score = score  # type: ignore[method-assign]


def test_alpha_moves_by_the_running_mean_of_standardised_values() -> None:
    """Where worths add up, each order finds them. Of the values 0 and 1, 6 each, the mean is 1/2
    and the deviation sqrt(3 / 11); a first step is 0.1 * (1 - 0.8), a second one 1.8 times that."""
    strategy = strategy_of("strategy.truncation=0")
    values_EO = torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 3)
    play(strategy, lambda there_EO: float((there_EO * values_EO).sum()) / 6)
    before = strategy.alpha["cell"].detach().clone()
    step_EO = 0.02 * (values_EO - 0.5) / (3 / 11) ** 0.5
    assert strategy.move_alpha() == {"val_accuracy": 1.0, "contributing": 6.0}
    torch.testing.assert_close(strategy.alpha["cell"] - before, step_EO)
    strategy.move_alpha()
    torch.testing.assert_close(strategy.alpha["cell"] - before, 2.8 * step_EO)


def test_an_order_ends_where_too_little_accuracy_is_left() -> None:
    """Each of the 12 operations is worth 1/12; below half there are 5, when 7 are out."""
    strategy = strategy_of()
    play(strategy, lambda there_EO: float(there_EO.sum()) / 12)
    order = list(range(12))
    worths, accuracy = strategy.worths_along(order)
    assert accuracy == 1.0
    assert worths == pytest.approx([(12 - taken) / 12 for taken in range(8)])
    np.testing.assert_allclose(contributed(order, worths), [1 / 12] * 7 + [0] * 5)


def test_values_that_do_not_differ_move_nothing() -> None:
    assert standardised(torch.full((4,), 0.25)).tolist() == [0.0] * 4


def test_caution_ranks_what_varies_below_what_does_not() -> None:
    """Operation 1 of the first edge is worth 1 unless operation 2 is there: half the orders find
    it, so that its mean is about as large as its deviation."""
    moved = {}
    for caution in (0.0, 2.0):
        words = ("strategy.num_orders=100", "strategy.truncation=0")
        strategy = strategy_of(*words, f"strategy.caution={caution}")
        play(strategy, lambda there_EO: float(torch.maximum(there_EO[0, 1], there_EO[0, 2])))
        before = strategy.alpha["cell"].detach().clone()
        strategy.move_alpha()
        moved[caution] = (strategy.alpha["cell"] - before)[0]
    assert min(moved[0.0][1], moved[0.0][2]) > moved[0.0][0]
    assert max(moved[2.0][1], moved[2.0][2]) < moved[2.0][0]


def test_it_finds_what_the_accuracy_tells() -> None:
    """Where the accuracy is the share of all gains that is there."""
    strategy = strategy_of()
    gains_EO = torch.tensor(GAINS_EO)
    play(strategy, lambda there_EO: float((there_EO * gains_EO).sum() / gains_EO.sum()))
    for _ in range(5):
        strategy.move_alpha()
    assert strategy.space.canonical(strategy.best()[0]) == "dba"


def test_it_finds_the_optimum_of_the_toy_space() -> None:
    """By the loss: accuracy is the same for all gains above zero."""
    strategy = strategy_of("budget.epochs=10", "strategy.worth=loss")
    while not strategy.finished:
        strategy.step()
    assert strategy.space.canonical(strategy.best()[0]) == "dba"

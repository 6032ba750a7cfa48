"""SETN: what it trains on, draws and chooses, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.genotypes.darts import EDGES
from nasrun.protocols.scorer import Scores
from nasrun.strategies.finalists import ranked
from nasrun.strategies.gradient.setn import SETN
from tests.compose import composed

MADE = ("strategy=setn", "dataset=synthetic", "budget=smoke")


def setn(*overrides: str) -> SETN:
    strategy = Wiring(to_typed(composed([*MADE, *overrides]), SearchConfig)).strategy
    assert isinstance(strategy, SETN)
    return strategy


@pytest.fixture(scope="module")
def toy() -> SETN:
    return setn("space=toy", "dataset.num_train=64")


def test_weights_are_trained_on_paths_that_are_drawn_evenly(toy: SETN) -> None:
    """1,000 draws of 4 operations: three standard errors of a frequency are 0.041."""
    mixtures = [toy.trained_mixture() for _ in range(1000)]
    assert all(one.active is not None and one.active["cell"].sum() == 3 for one in mixtures)
    frequency_EO = torch.stack([one.weights["cell"] for one in mixtures]).mean(dim=0)
    torch.testing.assert_close(frequency_EO, torch.full((3, 4), 0.25), atol=0.041, rtol=0)


def test_candidates_are_drawn_from_the_softmax_of_alpha(toy: SETN) -> None:
    """Odds of 3 to 1 between b and d on the first edge; a for certain on the others."""
    with torch.no_grad():
        toy.alpha["cell"].fill_(-100.0)
        toy.alpha["cell"][0, 1], toy.alpha["cell"][0, 3] = np.log(3), 0.0
        toy.alpha["cell"][1:, 0] = 0.0
    drawn = [toy.space.canonical(toy.draw()) for _ in range(1000)]
    assert set(drawn) == {"baa", "daa"}
    assert drawn.count("baa") / 1000 == pytest.approx(0.75, abs=0.041)


def test_candidates_of_darts_keep_the_edges_whose_operation_is_likeliest() -> None:
    strategy = setn("space=darts", "space.channels=4", "space.cells=1", "dataset.num_train=64")
    with torch.no_grad():  # p of 0.77 for an operation, 1.0 on two edges
        strategy.alpha["normal"].fill_(0.0)
        strategy.alpha["normal"][:, 2] = 3.0
        for source in (1, 3):
            strategy.alpha["normal"][EDGES.index((source, 5)), 2] = 50.0
    assert {edge.source for edge in strategy.draw().cell("normal").edges_into(5)} == {1, 3}


class Scored:
    """A scorer whose scores are given."""

    def __init__(self, loss: list[float], accuracy: list[float]) -> None:
        self.scores = Scores(np.array(loss), np.array(accuracy))

    def score_paths(self, genotypes: object, batch: object) -> Scores:
        return self.scores


def test_the_most_accurate_is_chosen_and_among_equals_the_one_of_lower_loss(toy: SETN) -> None:
    some = [toy.space.decode((gene, 0, 0)) for gene in range(4)]
    scored = Scored([0.1, 0.9, 0.5, 0.5], [0.25, 0.5, 0.5, 0.5])
    best_first, scores = ranked(scored, some, [None], lambda *_, **__: None)  # type: ignore[arg-type]
    assert best_first[0] == some[2]
    assert (scores.loss_N[0], scores.accuracy_N[0]) == (0.5, 0.5)


def test_it_finds_the_optimum_of_the_toy_space_in_a_step_after_the_last_epoch() -> None:
    words = ("space=toy", "budget.epochs=4", "dataset.num_train=256", "dataset.batch_size=16")
    strategy = setn(*words, "strategy.alpha_learning_rate=0.1")
    reports = []
    while not strategy.finished:
        reports.append(strategy.step())
    assert len(reports) == strategy.total_steps == 5
    assert strategy.space.canonical(strategy.best()[0]) == "dba"

"""The loop of EG-NAS by cross-entropy: a step by hand, and a landscape whose best cell is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nasrun.strategies.egnas.egnas_cross_entropy import EGNASCrossEntropy, moved
from tests.made_egnas import BEST, TRAINING, LandscapeScorer, context

SETTINGS = {
    "num_epochs": 40, "warmup": 0.0, "population_size": 30, "sharpness": 0.7, "elite": 0.2,
    "xi": 0.15, "least": 0.02, "statistics": "batch", "weights": "mixture", "fitness_batches": 1,
    "fitness_images": 16, "batch_size": None, "training": TRAINING,
}  # fmt: skip


def make(scorer: LandscapeScorer, seed: int = 0, **changes: Any) -> EGNASCrossEntropy:
    return EGNASCrossEntropy(context(scorer, seed), **{**SETTINGS, **changes})


def test_pi_moves_towards_the_elite_by_hand() -> None:
    """pi = (.5, .5, 0+), the elite has (0, 1, 0): .8 * pi + .2 * q = (.4, .6, 0), the last one at
    least .1, and all divided by 1.1."""
    alpha_D = np.log([0.5, 0.5, 1e-9])
    found_D = moved(alpha_D, {"cell": np.array([[0.0, 1.0, 0.0]])}, xi=0.2, least=0.1)
    assert np.exp(found_D) == pytest.approx(np.array([0.4, 0.6, 0.1]) / 1.1, abs=1e-6)
    still_D = moved(alpha_D, {"cell": np.array([[0.0, 0.0, 1.0]])}, xi=1.0, least=0.0)
    assert np.isfinite(still_D).all()


def test_candidates_are_smoothed_cells_and_the_elite_the_best_of_them() -> None:
    scorer = LandscapeScorer()
    search = make(scorer, population_size=10)
    search.step()
    own, candidates_NEO = scorer.calls
    assert len(own) == 1
    assert candidates_NEO.shape == (10, 2, 3)
    assert np.sort(candidates_NEO, axis=2) == pytest.approx(
        np.broadcast_to([0.1, 0.1, 0.8], (10, 2, 3)), abs=1e-6
    )
    assert search.scorer.num_scorings == 11
    assert search.best_of(np.array([3.0, np.nan, 1.0, 2.0, 5.0, 4.0])).tolist() == [2]
    assert search.best_of(np.full(6, np.nan)).tolist() == []


def test_it_finds_the_best_cell_and_keeps_every_operation_alive() -> None:
    for seed in range(3):
        search = make(LandscapeScorer(), seed)
        while not search.finished:
            search.step()
        edges = search.best()[0].cells[0].edges
        assert tuple(int(edge.operation) for edge in edges) == BEST
        assert np.exp(search.alpha_D).min() > 0.018  # least, scaled: three rows sum to at most 1.04


def test_without_a_finite_score_alpha_rests() -> None:
    search = make(LandscapeScorer(spoil=lambda place, size: size > 1))
    before_D = search.alpha_D
    metrics = search.step().metrics
    assert np.array_equal(search.alpha_D, before_D)
    assert metrics["failed_candidates"] == 30

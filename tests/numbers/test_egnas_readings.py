"""EG-NAS's other readings, its public code, and what an epoch says of itself, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import Mixture
from nasrun.strategies.egnas.egnas_as_published import EGNASAsPublished
from nasrun.strategies.egnas.fitness import Exploration, Start
from nasrun.strategies.supernet import weights_step
from tests.compose import composed
from tests.made_egnas import COST_EO, LandscapeScorer, make


def test_the_starts_of_the_public_code_have_one_population_in_every_epoch() -> None:
    scorer = LandscapeScorer()
    strategy = make(
        scorer, kind=EGNASAsPublished, direction="softmax", warmup=0.0, selection_images=0, xi=0.0
    )
    strategy.step()
    first = [call for call in scorer.calls if len(call) == 4]
    assert len(first) == 2 * 3  # with the softmax once, for L1, and twice, for the accuracy
    for call in first[2::2]:
        assert (call == first[0]).all()
    for call in first[3::2]:
        assert (call == first[1]).all()
    assert (np.ptp(first[1], axis=(1, 2)) < 0.5 * np.ptp(first[0], axis=(1, 2))).all()
    noises = []
    for mean_D in np.eye(6)[:2]:
        strategy.evolve(mean_D, strategy.look_around())
        noises.append(strategy.strategies.rng.bit_generator.state)
    assert noises[0] == noises[1]


def test_the_public_code_in_numbers() -> None:
    strategy = make(kind=EGNASAsPublished, direction="softmax", zeta=0.0, eta=1.0, seed=5)
    strategy.alpha_D = np.log(np.array([1.0, 2.0, 1.0, 1.0, 1.0, 2.0]))  # softmax 1/4, 1/2, 1/4 ...
    z_D = np.array([3.0, 0.0, 4.0, 0.0, 0.0, 2.0])
    assert strategy.unit_rows(z_D[None])[0] == pytest.approx([0.6, 0.0, 0.8, 0.0, 0.0, 1.0])
    norm = np.sqrt(0.375)  # of (1/4, 1/2, 1/4) and of (1/4, 1/4, 1/2)
    cosines = [(0.25 * 0.6 + 0.25 * 0.8) / norm, 0.5 / norm]
    similarity_N = strategy.row_similarity(strategy.unit_rows(z_D[None]))
    assert similarity_N == pytest.approx([0.5 * (np.mean(cosines) + 1)])
    once = np.exp([0.0, 0.0, 1.0]) / np.exp([0.0, 0.0, 1.0]).sum()
    twice = np.exp(once) / np.exp(once).sum()
    assert strategy.search_direction(z_D)[3:] == pytest.approx(twice, abs=1e-6)
    assert np.ptp(twice) < np.ptp(once) / 2


def test_sigma_falls_with_the_epochs_after_warm_up_down_to_a_floor() -> None:
    strategy = make(sigma=0.5, sigma_schedule="inverse")  # three epochs of warm-up
    sigmas = []
    for strategy.epoch in (4, 5, 6, 28, 500):
        since_warmup = strategy.epoch - strategy.num_warmup
        sigmas.append(strategy.strategies.start(strategy.alpha_D, since_warmup).sigma)
    assert sigmas == pytest.approx([0.5, 0.25, 0.5 / 3, 0.02, 0.02])


def test_a_separable_covariance_stays_diagonal() -> None:
    evolution = make(covariance="separable").strategies.start(np.zeros(6), 1).of_pycma
    for _ in range(30):
        candidates = evolution.ask()
        evolution.tell(candidates, [float(((x[0] + x[1]) ** 2).sum()) for x in candidates])
    candidates_ND = np.stack(evolution.ask(2000)) - evolution.mean
    correlations = np.corrcoef(candidates_ND.T) - np.eye(6)
    assert np.abs(correlations).max() < 0.1
    full = make(covariance="full").strategies.start(np.zeros(6), 1).of_pycma
    for _ in range(40):
        candidates = full.ask()
        full.tell(candidates, [float(((x[0] + x[1]) ** 2).sum()) for x in candidates])
    candidates_ND = np.stack(full.ask(2000)) - full.mean
    assert np.corrcoef(candidates_ND.T)[0, 1] < -0.3


def test_algorithm_1_to_the_word_has_lambda_minus_one_generations() -> None:
    scorer = LandscapeScorer()
    strategy = make(scorer, num_generations=None, num_starts=1, warmup=0.0)
    strategy.step()
    assert [len(call) for call in scorer.calls].count(strategy.population_size) == 3


def test_sampled_weights_are_trained_on_random_architectures() -> None:
    scorer = LandscapeScorer()
    strategy = make(scorer, weights="sampled")
    for _ in range(5):
        strategy.step()
    assert not scorer.trained
    assert len(scorer.paths) == 5
    assert len(set(scorer.paths)) > 1


def test_a_fitness_is_the_mean_over_its_batches() -> None:
    class Batches(LandscapeScorer):
        def score(self, candidates: Sequence[Mixture], batch: int, statistics: str) -> Scores:
            scores = super().score(candidates, batch, statistics)
            offset = len(self.drawn) and self.asked % 2
            self.asked += 1
            noise_N = np.array([0.3, 0.0]) if offset else np.array([0.4, 0.2])
            return Scores(scores.loss_N + offset, scores.accuracy_N + offset, noise_N)

        asked = 0

    scorer = Batches()
    weights = {"cell": torch.full((2, 3), 1 / 3)}
    plain = LandscapeScorer().score([Mixture(weights)], 16, "batch")
    exploration = Exploration(scorer, scorer.draw_batches([16, 16]), [], "batch")
    scores = exploration.score([Mixture(weights), Mixture(weights)])
    assert scores.loss_N == pytest.approx(plain.loss_N[0] + 0.5)
    assert scores.accuracy_N == pytest.approx(plain.accuracy_N[0] + 0.5)
    assert scores.noise_N == pytest.approx([0.25, 0.1])


def test_selection_on_the_images_of_the_fitness_draws_no_others() -> None:
    apart, shared = LandscapeScorer(), LandscapeScorer()
    make(apart, warmup=0.0, selection_images=32).step()
    make(shared, warmup=0.0, selection_images=0, fitness_batches=2).step()
    assert apart.drawn == [[16, 32]]
    assert shared.drawn == [[16, 16]]


def test_what_an_epoch_says_of_its_candidates() -> None:
    epoch = Exploration(LandscapeScorer(), [16], [], "batch", loss=2.0)
    scores = Scores(np.array([1.0, 2.0, 3.0, np.nan]), np.zeros(4), np.array([0.1, 0.2, 0.2, 0.1]))
    epoch.note(np.array([1.0, 3.0, 2.0, np.nan]), scores)
    figures = epoch.metrics([Start(np.zeros(1), 0.0, 1.0), Start(np.zeros(1), 0.0, 2.5)])
    assert figures["failed_candidates"] == 1
    assert figures["picked_gain"] == pytest.approx(0.25)
    assert figures["fitness_loss_tau"] == pytest.approx(1 / 3)
    noise_variance = (0.01 + 0.04 + 0.04) / 3
    beyond = (2 / 3 - noise_variance) / noise_variance
    assert figures["loss_signal"] == pytest.approx(np.sqrt(beyond))


def test_how_far_mixing_weights_move() -> None:
    before = {"cell": torch.tensor([[0.5, 0.5], [0.5, 0.5]])}
    after = {"cell": torch.tensor([[0.7, 0.3], [0.5, 0.5]])}
    assert weights_step(before, after) == pytest.approx(0.1)


@pytest.mark.parametrize("active", [False, True])
def test_eq_5_sums_the_better_half_alone(active: bool) -> None:
    """Where the worse half lies changes the covariance only if it is active."""
    covariances, means = [], []
    for turned in (0, 1):
        evolution = make(active=active, population_size=8).strategies.start(np.zeros(6), 1)
        candidates_ND = evolution.ask()
        candidates_ND[4:] = np.roll(candidates_ND[4:], turned, axis=1)
        evolution.tell(candidates_ND, np.arange(8.0))
        covariances.append(np.array(evolution.of_pycma.C))
        means.append(evolution.mean)
    assert means[0].tolist() == means[1].tolist()  # so that one generation is the same either way
    assert np.allclose(*covariances) != active


def test_the_chosen_direction_is_scored_apart_from_the_last_alpha() -> None:
    """The first is the quantity of the paper's Table 4 and Fig. 3; by hand from COST_EO."""
    scorer = LandscapeScorer()
    strategy = make(scorer, warmup=0.0)
    report = strategy.step()
    chosen_NEO = next(call for call in reversed(scorer.calls) if len(call) == 3)  # Eq. 9
    loss_N = (chosen_NEO * COST_EO).sum(axis=(1, 2))
    assert report.metrics["chosen_accuracy"] == pytest.approx(1.0 - loss_N.min() / 2)
    assert "final_val_accuracy" not in report.metrics
    last = strategy.last_metrics()
    own_EO = strategy.mixing_weights(strategy.alpha_D)["cell"].double().numpy()
    assert last["final_val_accuracy"] == pytest.approx(1.0 - (own_EO * COST_EO).sum() / 2)
    assert last["scorings"] == report.metrics["scorings"] + 4


def test_a_search_at_the_papers_size_scores_4764_times() -> None:
    def scorings(epochs: int, starts: int, size: int) -> int:  # of the epochs after warm-up
        return epochs * (starts * size + 1 + starts + starts) + 4  # and the last alpha, 4 batches

    strategy = make(num_epochs=6, num_starts=2, population_size=4)
    while not strategy.finished:
        strategy.step()
    assert strategy.last_metrics()["scorings"] == scorings(4, 2, 4)
    assert scorings(35, 5, 25) == 4764


PAPER = {
    "strategy.num_starts": 5, "strategy.population_size": 25, "strategy.xi": 0.6,
    "strategy.zeta": 1.0, "strategy.eta": 0.4, "strategy.batch_size": 256, "strategy.active": False,
    "strategy.learning_rate": 0.025, "strategy.learning_rate_min": 0.001, "strategy.momentum": 0.9,
    "strategy.weight_decay": 3e-4, "strategy.warmup": 15 / 50, "strategy.similarity": "printed",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["strategy=egnas_paper"], {}),
        (["strategy=egnas_centred"], {"strategy.similarity": "centred"}),
        (["strategy=egnas_without_diversity"], {"strategy.eta": 0.0}),
        (
            ["strategy=egnas_imagenet"],
            {"strategy.population_size": 50, "strategy.batch_size": 1024,
             "strategy.learning_rate": 0.5, "strategy.learning_rate_min": 0.0,
             "strategy.weight_decay": 3e-5},
        ),
        (
            ["experiment=egnas_nasbench201"],
            {"space.channels": 16, "space.cells": 5, "budget.epochs": 50},
        ),
        (
            ["experiment=egnas_cifar10"],
            {"space.channels": 16, "space.cells": 8, "budget.epochs": 50, "retrain.epochs": 600,
             "retrain.batch_size": 96},
        ),
        (
            ["experiment=egnas_imagenet"],
            {"strategy.population_size": 50, "strategy.batch_size": 1024,
             "strategy.learning_rate": 0.5, "strategy.learning_rate_min": 0.0,
             "strategy.weight_decay": 3e-5, "retrain.epochs": 250},
        ),
    ],
    ids=lambda value: "" if not isinstance(value, list) else value[0],
)  # fmt: skip
def test_options_named_after_the_paper_have_its_values(words: list[str], changes: dict) -> None:
    """Its experimental settings, and those of DARTS for what it leaves to DARTS."""
    config = composed(words)
    expected = {**PAPER, **changes}
    assert {key: OmegaConf.select(config, key) for key in expected} == pytest.approx(expected)

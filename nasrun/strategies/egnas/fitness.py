"""Compute what the candidates of EG-NAS compete on: the fitness of Eq. 6 and 7, and its noise.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nasrun.errors import RunError
from nasrun.protocols.ranks import kendall_tau
from nasrun.protocols.scorer import Scorer, Scores, mean_scores
from nasrun.protocols.space import Mixture, Statistics
from nasrun.strategies.egnas.mixing import softmax_per_edge
from nasrun.strategies.supernet import weights_step


@dataclass(frozen=True)
class Start:
    """The outcome of one evolution strategy: x*_n, its fitness and its cross-entropy."""

    alpha_D: np.ndarray
    fitness: float = np.inf
    loss: float = np.inf

    def or_better(self, candidates_ND: np.ndarray, fitness_N: np.ndarray, scores: Scores) -> Start:
        """Return the best of a population where it is better than this one, or else this one."""
        i = int(np.argmin(np.where(np.isfinite(fitness_N), fitness_N, np.inf)))
        if not fitness_N[i] < self.fitness:
            return self
        return Start(candidates_ND[i], float(fitness_N[i]), float(scores.loss_N[i]))


@dataclass
class Exploration:
    """Hold one epoch's evolution strategies: the images they compete on, and what came of it.

    `selection` are the images on which Eq. 9 chooses among the x*_n, apart from the `batches` that
    have chosen each of them.
    """

    scorer: Scorer
    batches: Sequence[Any]
    selection: Sequence[Any]
    statistics: Statistics
    loss: float = np.nan  # of alpha_t on the batches
    quality: float = np.nan  # Acc(alpha_t) of Eq. 7, or the metric in its place
    own: Scores = field(default_factory=lambda: Scores(np.array([np.nan]), np.array([np.nan])))
    fitness: list[float] = field(default_factory=list)  # of all candidates, failed ones left out
    losses: list[float] = field(default_factory=list)  # their L1
    noise: list[float] = field(default_factory=list)  # standard errors of their L1, where known
    num_failed: int = 0
    sigma: float = np.nan  # of CMA-ES after its last generation, if there was one

    def score(self, candidates: Sequence[Mixture]) -> Scores:
        """Return the means over the batches of the fitness."""
        return self._mean(candidates, self.batches)

    def select(self, candidates: Sequence[Mixture]) -> Scores:
        """Return the means over the images of Eq. 9."""
        return self._mean(candidates, self.selection)

    def _mean(self, candidates: Sequence[Mixture], batches: Sequence[Any]) -> Scores:
        return mean_scores([self.scorer.score(candidates, one, self.statistics) for one in batches])

    def score_alpha(self, alpha: Mixture, epoch: int) -> None:
        """Score alpha itself, with which candidates are compared.

        Raises:
            RunError: its loss is not finite.
        """
        self.own = self.score([alpha])
        self.loss, self.quality = float(self.own.loss_N[0]), float(self.own.quality_N[0])
        if not np.isfinite(self.loss):
            raise RunError(
                f"the supernet's validation loss is {self.loss} in epoch {epoch}: "
                "lower strategy.learning_rate"
            )

    def note(self, fitness_N: np.ndarray, scores: Scores) -> None:
        """Remember a population; a candidate without a finite fitness has failed."""
        finite_N = np.isfinite(fitness_N)
        self.num_failed += int((~finite_N).sum())
        self.fitness += fitness_N[finite_N].tolist()
        self.losses += scores.loss_N[finite_N].tolist()
        if scores.noise_N is not None:
            self.noise += scores.noise_N[finite_N].tolist()

    def metrics(self, starts: Sequence[Start]) -> dict[str, float]:
        """Sum up the epoch.

        - `picked_gain`: how much lower the loss of the x*_n is than alpha's, on average.
        - `fitness_loss_tau`: Kendall's tau of fitness and L1: how much the performance decides.
        - `loss_signal`: the spread of L1 beyond its noise, in units of that noise. (That of the
          fitness would count the jumps of Eq. 7, which are noise where two accuracies are close.)
        """
        fitness = np.array(self.fitness or [np.nan])
        figures = {
            "val_loss": self.loss,
            **self.own.figures(),
            "fitness_best": float(fitness.min()),
            "fitness_mean": float(fitness.mean()),
            "fitness_spread": float(fitness.std()),
            "failed_candidates": float(self.num_failed),
        }
        if np.isfinite(self.sigma):
            figures["sigma"] = self.sigma
        picked = [start.loss for start in starts if np.isfinite(start.loss)]
        if picked:
            figures["picked_gain"] = self.loss - float(np.mean(picked))
        if len(set(self.losses)) > 1 and len(set(self.fitness)) > 1:
            figures["fitness_loss_tau"] = kendall_tau(np.array(self.fitness), np.array(self.losses))
        if self.noise:
            noise_variance = max(float(np.mean(np.square(self.noise))), 1e-12)
            beyond = max(0.0, float(np.var(self.losses)) - noise_variance)
            figures["loss_signal"] = float(np.sqrt(beyond / noise_variance))
        return figures


def cosine_similarity(alpha_D: np.ndarray, candidates_ND: np.ndarray) -> np.ndarray:
    """Compute L2 of Eq. 6: the cosine, moved to [0, 1]; 1 means the same direction."""
    norms_N = np.linalg.norm(candidates_ND, axis=1) * np.linalg.norm(alpha_D)
    cosine_N = candidates_ND @ alpha_D / np.maximum(norms_N, 1e-300)
    return 0.5 * (cosine_N + 1.0)


def compound_fitness(
    loss_N: np.ndarray, similarity_N: np.ndarray, worse_N: np.ndarray, zeta: float, eta: float
) -> np.ndarray:
    """Compute Eq. 7, which is minimised.

    zeta*L1 - eta*L2 where the candidate is worse than alpha (so that a worse one is kept close),
    zeta*L1 + eta*L2 elsewhere (so that a better one is drawn away).
    """
    return zeta * loss_N + np.where(worse_N, -eta, eta) * similarity_N


def movement(
    before_D: np.ndarray, after_D: np.ndarray, alpha_shapes: Mapping[str, tuple[int, int]]
) -> dict[str, float]:
    """Measure how far alpha and its mixing weights have moved, and how long alpha is."""
    before, after = (softmax_per_edge(alpha_D, alpha_shapes) for alpha_D in (before_D, after_D))
    return {
        "alpha_step": float(np.linalg.norm(after_D - before_D)),
        "alpha_norm": float(np.linalg.norm(after_D)),
        "weights_step": weights_step(before, after),
    }

"""What the public code of EG-NAS in effect does, mended as little as it takes to run.

github.com/caicaicheng/EG-NAS, commit d5d7e1e, CIFAR-10 script. As published it stops with an error
(a function of seven arguments is called with six), and the fix of that is all that is mended here.
It is not CMA-ES, and not the paper's method (strategies/egnas.py):

- All starts of an epoch share one mean and one noise, so that N has no effect; and the noise is
  that of every other epoch and run too, since each evolution strategy gets the seed 1.
- One generation is drawn and its update thrown away: the best of lambda random candidates.
- It looks around softmax(alpha), not around alpha. A candidate's rows are divided by their norms;
  L1 is that of their softmax; for the accuracy (Eq. 7, 9) and the step (Eq. 8) the softmax is
  applied twice, so that the weights of an edge with 7 operations differ by .02.
- L2 (Eq. 6) takes the mean over the rows of their cosines. sigma is 1 in every epoch (its decay
  reads a constant).
- One batch, under running statistics, is all that an epoch looks at.

Not rebuilt: training augmentation of that batch, and gradients of alpha in the clipped norm.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nasrun.errors import require
from nasrun.protocols.scorer import Scores
from nasrun.protocols.space import Mixture
from nasrun.strategies.egnas.egnas import EGNAS
from nasrun.strategies.egnas.fitness import (
    Exploration,
    Start,
    compound_fitness,
    flat,
    one_by_one,
    per_edge,
    softmax_per_edge,
)

CODE_SEED = 1  # of every evolution strategy, in every epoch and every run


class EGNASAsPublished(EGNAS):
    """See the module's docstring; settings as in `EGNAS`."""

    def require_possible(self) -> None:
        only = "all that the public code has"
        key, value = "fitness.similarity", self.similarity
        require(value == "printed", key, value, f"printed, {only}: choose another fitness")
        key = "strategy.direction"
        require(self.direction == "softmax", key, self.direction, f"softmax, {only}")
        key = "strategy.num_generations"
        require(self.num_generations == 1, key, self.num_generations, f"1, {only}")

    def starting_points(self) -> Iterator[np.ndarray]:
        """Line 5, drawn once for all."""
        noise_D = self.rng.standard_normal(self.alpha_D.size)
        start_D = flat(self.mixing_weights(self.alpha_D)) + self.sigma_start * noise_D
        for _ in range(self.num_starts):
            yield start_D

    def evolve(self, start_D: np.ndarray, epoch: Exploration) -> Start:
        """Lines 6 to 13: the best of one population."""
        strategy = self.cma_es(start_D)
        epoch.sigma = float(strategy.sigma)
        candidates_ND = np.stack(strategy.ask())
        scores, fitness_N, _ = self.fitness(candidates_ND, epoch)
        epoch.note(fitness_N, scores)
        if not np.isfinite(fitness_N).any():
            return Start(start_D, np.inf, np.inf)
        i = int(np.argmin(np.where(np.isfinite(fitness_N), fitness_N, np.inf)))
        return Start(candidates_ND[i], float(fitness_N[i]), float(scores.loss_N[i]))

    def cma_es(self, start_D: np.ndarray) -> Any:
        """With the same noise in every call."""
        self.strategies.rng = np.random.default_rng(CODE_SEED)
        return super().cma_es(start_D)

    def fitness(
        self, candidates_ND: np.ndarray, epoch: Exploration, mean_similarity: float | None = None
    ) -> tuple[Scores, np.ndarray, float]:
        """Eq. 7, with L1 and the accuracy of different mixtures."""
        rows_ND = self.unit_rows(candidates_ND)
        scores = epoch.score(one_by_one(softmax_per_edge(rows_ND, self.space.alpha_shapes)))
        worse_N = epoch.accuracy > epoch.score(self.mixtures(candidates_ND)).accuracy_N
        similarity_N = self.row_similarity(rows_ND)
        fitness_N = compound_fitness(scores.loss_N, similarity_N, worse_N, self.zeta, self.eta)
        return scores, fitness_N, float(similarity_N.mean())

    def search_direction(self, best_D: np.ndarray) -> np.ndarray:
        """s of Eq. 8."""
        return flat(self.mixtures(best_D[None])[0].weights)

    def mixtures(self, candidates_ND: np.ndarray) -> list[Mixture]:
        """Of each candidate, the softmax of the softmax of its unit rows."""
        once = softmax_per_edge(self.unit_rows(candidates_ND), self.space.alpha_shapes)
        return one_by_one({name: weights.softmax(dim=-1) for name, weights in once.items()})

    def unit_rows(self, candidates_ND: np.ndarray) -> np.ndarray:
        """Each edge's part of a candidate, divided by its norm."""
        rows = per_edge(candidates_ND, self.space.alpha_shapes).values()
        unit = [row_NEO / np.linalg.norm(row_NEO, axis=2, keepdims=True) for row_NEO in rows]
        return np.concatenate([row_NEO.reshape(len(candidates_ND), -1) for row_NEO in unit], axis=1)

    def row_similarity(self, rows_ND: np.ndarray) -> np.ndarray:
        """L2 of Eq. 6, from the mean over the edges of the cosine with softmax(alpha)."""
        own = per_edge(flat(self.mixing_weights(self.alpha_D)), self.space.alpha_shapes)
        cosines = [
            (rows_NEO * own[name]).sum(axis=2) / np.linalg.norm(own[name], axis=1)
            for name, rows_NEO in per_edge(rows_ND, self.space.alpha_shapes).items()
        ]
        return 0.5 * (np.concatenate(cosines, axis=1).mean(axis=1) + 1.0)

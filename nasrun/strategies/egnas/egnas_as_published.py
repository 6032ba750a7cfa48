"""EG-NAS as its public code does it in effect, mended as little as it takes to run.

github.com/caicaicheng/EG-NAS, commit d5d7e1e, CIFAR-10 script. As published it stops with an error
(a function of seven arguments is called with six), and the fix of that is all that is mended here.
It is not CMA-ES, and not the paper's method (`strategy=egnas`):

- All starts of an epoch share one mean and one noise, so that N has no effect; and the noise is
  that of every other epoch and run too, since each evolution strategy gets the seed 1.
- One generation is drawn and its update thrown away: the best of lambda random candidates.
- It looks around softmax(alpha), not around alpha. A candidate's rows are divided by their norms;
  L1 is that of their softmax; for the accuracy (Eq. 7, 9) and the step (Eq. 8) the softmax is
  applied twice, so that the weights of an edge with 7 operations differ by .02.
- L2 (Eq. 6) takes the mean over the rows of their cosines. sigma is 1 in every epoch (its decay
  reads a constant).
- One batch, under running statistics, is all that an epoch looks at.

Deviations: not rebuilt are the training augmentation of that batch, and the gradients of alpha in
the clipped norm.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from nasrun.protocols.scorer import Scores
from nasrun.protocols.settings import plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.egnas.egnas import EGNAS
from nasrun.strategies.egnas.fitness import Exploration, Start, compound_fitness
from nasrun.strategies.egnas.mixing import flat, one_by_one, per_edge, softmax_per_edge

CODE_SEED = 1  # the seed of every evolution strategy, in every epoch and every run


@plugin
class EGNASAsPublished(EGNAS):
    """See the module's docstring; settings as in `EGNAS`."""

    # The public code knows no other values of these three.
    similarity: Literal["printed"]
    direction: Literal["softmax"]
    num_generations: Literal[1]

    def starting_points(self) -> Iterator[np.ndarray]:
        """Line 5: draw a single start, and give it to all N evolution strategies."""
        noise_D = self.rng.standard_normal(self.alpha_D.size)
        start_D = flat(self.mixing_weights(self.alpha_D)) + self.sigma_start * noise_D
        for _ in range(self.num_starts):
            yield start_D

    def evolve(self, start_D: np.ndarray, epoch: Exploration) -> Start:
        """Lines 6 to 13: return the best of one population, whose noise is always the same."""
        self.strategies.rng = np.random.default_rng(CODE_SEED)
        strategy = self.strategies.start(start_D, self.epoch - self.num_warmup)
        epoch.sigma = strategy.sigma
        candidates_ND = strategy.ask()
        scores, fitness_N, _ = self.fitness(candidates_ND, epoch)
        epoch.note(fitness_N, scores)
        return Start(start_D).or_better(candidates_ND, fitness_N, scores)

    def fitness(
        self, candidates_ND: np.ndarray, epoch: Exploration, mean_similarity: float | None = None
    ) -> tuple[Scores, np.ndarray, float]:
        """Score candidates (Eq. 7), whose L1 and accuracy are those of different mixtures."""
        rows_ND = self.unit_rows(candidates_ND)
        scores = epoch.score(one_by_one(softmax_per_edge(rows_ND, self.space.alpha_shapes)))
        worse_N = epoch.quality > epoch.score(self.mixtures(candidates_ND)).quality_N
        similarity_N = self.row_similarity(rows_ND)
        fitness_N = compound_fitness(scores.loss_N, similarity_N, worse_N, self.zeta, self.eta)
        return scores, fitness_N, float(similarity_N.mean())

    def search_direction(self, best_D: np.ndarray) -> np.ndarray:
        """Compute s of Eq. 8."""
        return flat(self.mixtures(best_D[None])[0].weights)

    def mixtures(self, candidates_ND: np.ndarray) -> list[Mixture]:
        """Apply the softmax twice to the unit rows of each candidate."""
        once = softmax_per_edge(self.unit_rows(candidates_ND), self.space.alpha_shapes)
        return one_by_one({name: weights.softmax(dim=-1) for name, weights in once.items()})

    def unit_rows(self, candidates_ND: np.ndarray) -> np.ndarray:
        """Divide each edge's part of a candidate by its norm."""
        rows = per_edge(candidates_ND, self.space.alpha_shapes).values()
        unit = [row_NEO / np.linalg.norm(row_NEO, axis=2, keepdims=True) for row_NEO in rows]
        return np.concatenate([row_NEO.reshape(len(candidates_ND), -1) for row_NEO in unit], axis=1)

    def row_similarity(self, rows_ND: np.ndarray) -> np.ndarray:
        """Compute L2 of Eq. 6, from the mean over the edges of the cosine with softmax(alpha)."""
        own = per_edge(flat(self.mixing_weights(self.alpha_D)), self.space.alpha_shapes)
        cosines = [
            (rows_NEO * own[name]).sum(axis=2) / np.linalg.norm(own[name], axis=1)
            for name, rows_NEO in per_edge(rows_ND, self.space.alpha_shapes).items()
        ]
        return 0.5 * (np.concatenate(cosines, axis=1).mean(axis=1) + 1.0)

"""The loop of EG-NAS with cells as candidates, all of the best of which are heard.

The cross-entropy method (R. Rubinstein, Methodology and Computing in Applied Probability 1, 1999;
with a step per epoch it is PBIL, S. Baluja, 1994) in the place of CMA-ES. No paper of its own. Two
things cost EG-NAS (egnas.py) what its scorings say: a candidate alpha is a mixture of all
operations that hardly differs from its neighbours, and of N * lambda candidates one moves alpha.
Here, in each epoch after warm-up, with pi = softmax(alpha) on each edge:

    draw N cells, the operation of each edge from pi
    score each as the mixture p * (the cell) + (1 - p) * (all operations alike)
    q = how often the best share of the cells has each operation on each edge
    pi = (1 - xi) * pi + xi * q, at least `least` and scaled to 1; alpha = log(pi)

A little of all operations besides the cell (sharpness p < 1) averages the error of the supernet in
a single cell over the cells that are a few edges away. There is no L2 of Eq. 6. The derived cell
has the likeliest operation of each edge, as in EG-NAS.

Deviations: none.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from nasrun.protocols.settings import Fraction, PopulationSize, PositiveShare, plugin
from nasrun.strategies.egnas.base import AlphaExploration
from nasrun.strategies.egnas.fitness import Start, movement
from nasrun.strategies.egnas.mixing import one_by_one, per_edge, softmax_per_edge

TINY = 1e-6  # the least probability, so that its logarithm is finite

PerEdge = Mapping[str, np.ndarray]
"""Cell type -> one row per edge, float64."""


@plugin
class EGNASCrossEntropy(AlphaExploration):
    """The strategy; see the module's docstring."""

    step_cost: ClassVar[str] = "1 gradient a batch, scores"
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.xi",
        "worse": "raise population.size",
        "noise": "raise strategy.fitness_images or strategy.sharpness",
        "collapse": "a longer strategy.warmup and strategy.weights=sampled are worth a try",
    }

    population_size: PopulationSize  # N, cells that are scored per epoch
    sharpness: PositiveShare  # p, the share of the cell in its mixture; 1 scores single cells
    elite: PositiveShare  # share of the candidates, the best, that pi moves towards
    xi: PositiveShare  # step size of pi
    least: Fraction  # probability that each operation keeps, before scaling

    def explore(self) -> dict[str, float]:
        """Draw, score, move pi: N + 1 scorings.

        Without a single finite score the epoch leaves alpha where it is.
        """
        epoch = self.look_around()
        chosen = self.draw()
        mixtures = {name: self.smoothed(cells_NEO) for name, cells_NEO in chosen.items()}
        scores = epoch.score(one_by_one(mixtures))
        epoch.note(scores.loss_N, scores)
        best_N = self.best_of(scores.loss_N)

        before_D = self.alpha_D
        if len(best_N) > 0:
            share = {name: cells_NEO[best_N].mean(axis=0) for name, cells_NEO in chosen.items()}
            self.alpha_D = moved(before_D, share, self.xi, self.least)
            loss = float(scores.loss_N[best_N[0]])
            found = [Start(self.alpha_D, loss, loss)]
        else:
            found = []
        return epoch.metrics(found) | movement(before_D, self.alpha_D, self.space.alpha_shapes)

    def draw(self) -> PerEdge:
        """Draw N cells from pi; cell type -> cells_NEO, 1 for an edge's operation, else 0."""
        chosen = {}
        for name, alpha_EO in per_edge(self.alpha_D, self.space.alpha_shapes).items():
            # the largest of log(pi) and Gumbel noise is a draw from pi
            noise_NEO = self.rng.gumbel(size=(self.population_size, *alpha_EO.shape))
            operation_NE = (alpha_EO + noise_NEO).argmax(axis=2)
            chosen[name] = np.eye(alpha_EO.shape[1])[operation_NE]
        return chosen

    def smoothed(self, cells_NEO: np.ndarray) -> torch.Tensor:
        """Mix each cell with all operations alike: weights_NEO, float32."""
        even = (1.0 - self.sharpness) / cells_NEO.shape[2]
        return torch.from_numpy(self.sharpness * cells_NEO + even).float()

    def best_of(self, loss_N: np.ndarray) -> np.ndarray:
        """Return the places of the elite, the best first; what is not finite is not in it."""
        order_N = np.argsort(np.where(np.isfinite(loss_N), loss_N, np.inf), kind="stable")
        count = max(1, round(self.elite * len(loss_N)))
        return order_N[: min(count, int(np.isfinite(loss_N).sum()))]


def moved(alpha_D: np.ndarray, share: PerEdge, xi: float, least: float) -> np.ndarray:
    """Move pi = softmax(alpha) towards the elite's shares of operations; return log(pi).

    Args:
        share: cell type -> share_EO, whose rows sum to 1.
    """
    shapes = {name: share_EO.shape for name, share_EO in share.items()}
    parts = []
    for name, weights_EO in softmax_per_edge(alpha_D, shapes).items():
        pi_EO = (1.0 - xi) * weights_EO.double().numpy() + xi * share[name]
        pi_EO = np.maximum(pi_EO, max(least, TINY))
        parts.append(np.log(pi_EO / pi_EO.sum(axis=1, keepdims=True)).ravel())
    return np.concatenate(parts)

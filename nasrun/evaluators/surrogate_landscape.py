"""Score mixing weights of DARTS cells without images: a surrogate stands in for a supernet.

`evaluator=table` needs the score of each cell, and nobody can train the 10^18 cells of DARTS. Here
X(cell) is the value of a surrogate that was fitted to some hundred trained cells
(`darts_surrogates.py`). As on a table the value of a mixture is the expectation of a cell's score
when cells are drawn by the mixing weights; but a DARTS cell keeps two of the edges that enter a
node, so these are drawn as well: the pair of edges e, f with the probability in proportion to
m_e * m_f, where the mass m of an edge is the sum of its weights, and then the operation of each
edge by its weights. In all, edge e is kept with operation o with the probability

    q[e, o] = W[e, o] * (M - m_e) / Z,    M = sum of m,    Z = sum of m_e * m_f over all pairs,

with sums over the edges into the same node. This is the construction because
- nodes are filled independently, so that the expectation of every count of edges and routes is the
  count of the shares q: for `ridge` a(W) is the exact expectation over all cells, which cannot be
  enumerated, and for the other families X at the expected features;
- at the one-hot weights of a cell q is the cell, and a(W) its X, whatever the family;
- each mixture keeps 8 edges of a cell type, as the trained cells have; all 14 would be cells that
  no surrogate has seen;
- softmax rows have the mass 1: all pairs are equally likely, as a node of a supernet adds up all
  its edges alike. Gates (partial channels) multiply the mass. What a derivation does, to keep the
  edges with the strongest operations, is no part of a mixture, here nor on a supernet.

a(W) does not change where all edges of a node are scaled, and a node with fewer than two edges that
carry anything counts as without edges.

A supernet ranks cells badly. The error here is fixed for a run, and is one of how a node is filled:
N(0, 1) for each node, pair of edges and pair of operations, added up over the eight nodes; that of
a mixture is its expectation, exactly. Over random cells its deviation is `rank_noise` times that of
the surrogate. Scale and noise are those of all landscapes (`landscape_scores.py`).

Shapes: N candidates, E = 28 edges of both cell types, O operations of the space, C cell types.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nasrun.errors import UsageError
from nasrun.evaluators.darts_surrogates import OPERATIONS, Surrogate, counts_of
from nasrun.evaluators.landscape_scores import LandscapeScorer
from nasrun.genotypes.darts import CELLS, EDGES
from nasrun.protocols.predictor import Ranking
from nasrun.protocols.space import DifferentiableSpace
from nasrun.protocols.state import Streams

NODES_E = [(cell, target) for cell in CELLS for _, target in EDGES]  # that each row of E enters
SAME_NODE_EE = np.array([[float(one == other) for other in NODES_E] for one in NODES_E])
NUM_RANDOM = 500  # cells by which the error is scaled


class SurrogateLandscape(LandscapeScorer):
    """The landscape of a surrogate; see the module's docstring.

    Args:
        surrogate: what cells are worth.
        rank_noise: deviation of the error over random cells, in units of that of the surrogate.
        accuracy_spread: standard deviation of the accuracy A over random alphas.
        loss_noise, accuracy_noise: standard deviations for 128 images.
        independent_share: share of `loss_noise` that is a candidate's own, in [0, 1].
    """

    without_weights: ClassVar[str] = "evaluator=darts_landscape has none: leave evaluator out"

    def __init__(
        self,
        space: DifferentiableSpace,
        surrogate: Surrogate,
        streams: Streams,
        *,
        rank_noise: float,
        accuracy_spread: float,
        loss_noise: float,
        accuracy_noise: float,
        independent_share: float,
    ) -> None:
        super().__init__(
            space,
            streams,
            loss_noise=loss_noise,
            accuracy_noise=accuracy_noise,
            independent_share=independent_share,
        )
        self.surrogate = surrogate
        # from the columns of the space to those of the surrogate, which has no `none`
        known = [[float(own == name) for name in OPERATIONS] for own in space.operations]
        self._columns_OO = torch.tensor(known, dtype=torch.float64)
        # It depends on the run's seed alone, so that a resumed run has the same landscape.
        fixed = streams.derived("landscape")
        size = (self._shape[0], self._shape[1], self._shape[0], self._shape[1])
        pairs_EE = np.triu(SAME_NODE_EE, k=1)  # each pair of edges into the same node once
        error_EOEO = fixed.numpy("cells").standard_normal(size) * pairs_EE[:, None, :, None]
        self._error_DD = torch.from_numpy(error_EOEO.reshape(np.prod(self._shape), -1))  # D = E*O
        rng = fixed.numpy("random cells")
        self.random_cells = [space.sample(rng) for _ in range(NUM_RANDOM)]
        true_N, error_N = self.of_random_cells()
        self._error_DD *= rank_noise * float(true_N.std()) / float(error_N.std())
        uniform_1EO = torch.full((1, *self._shape), 1 / self._shape[1], dtype=torch.float64)
        self._uniform = float(self.extension(uniform_1EO)[0])
        self.calibrate(fixed.numpy("alphas"), accuracy_spread, self.change)

    def change(self, weights_NEO: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.extension(torch.from_numpy(weights_NEO)).numpy() - self._uniform

    def differentiable_change(self, weights_EO: Tensor) -> Tensor:
        """Return the same of one candidate, for autograd.

        Raises:
            UsageError: the surrogate has no gradient.
        """
        if not self.surrogate.has_gradient:
            raise UsageError(
                f"evaluator.family={self.surrogate.family} is a staircase without a gradient, "
                "which this strategy follows: type evaluator.family=ridge or "
                "evaluator.family=gaussian_process"
            )
        return self.extension(weights_EO[None])[0] - self._uniform

    def gated(self, weights_EO: Tensor, gates_E1: Tensor) -> Tensor:
        """Multiply the weights of an edge, and so its mass, by its gate."""
        return gates_E1 * weights_EO

    def extension(self, weights_NEO: Tensor) -> Tensor:
        """Return a(W) of each candidate, with the error, float64."""
        return self.surrogate.values(self.kept(weights_NEO)) + self._error(weights_NEO)

    def kept(self, weights_NEO: Tensor) -> Tensor:
        """Return q, the share of cells that have each operation on each edge: (N, C, 14, 7)."""
        mass_NE = weights_NEO.sum(dim=2)
        others_NE = mass_NE @ torch.from_numpy(SAME_NODE_EE) - mass_NE
        all_pairs_NE = self._pair_mass(mass_NE)
        share_NE = others_NE / all_pairs_NE
        q_NEO = (weights_NEO * share_NE[..., None]) @ self._columns_OO
        return q_NEO.reshape(len(weights_NEO), len(CELLS), len(EDGES), len(OPERATIONS))

    def _pair_mass(self, mass_NE: Tensor) -> Tensor:
        """Return Z of the node that each edge enters; 1 for a node without a pair, which has 0."""
        same_EE = torch.from_numpy(SAME_NODE_EE)
        pairs_NE = ((mass_NE @ same_EE).square() - mass_NE.square() @ same_EE) / 2
        return torch.where(pairs_NE > 1e-12, pairs_NE, torch.ones_like(pairs_NE))

    def _error(self, weights_NEO: Tensor) -> Tensor:
        """Return the expected error of each candidate."""
        shares_NEO = weights_NEO / self._pair_mass(weights_NEO.sum(dim=2))[..., None]
        return ((shares_NEO.flatten(1) @ self._error_DD) * weights_NEO.flatten(1)).sum(dim=1)

    def of_random_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the value of the surrogate and the error of random cells, float64."""
        counts_NCEO = torch.from_numpy(np.stack([counts_of(cell) for cell in self.random_cells]))
        one_hot_NEO = (counts_NCEO @ self._columns_OO.T).flatten(1, 2)
        return self.surrogate.values(counts_NCEO).numpy(), self._error(one_hot_NEO).numpy()

    def tau(self) -> float | None:
        """Return Kendall's tau of X with the error and without, over random cells."""
        true_N, error_N = self.of_random_cells()
        return Ranking(true_N + error_N, true_N).tau

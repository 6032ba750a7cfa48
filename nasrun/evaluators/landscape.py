"""Score mixing weights without images: a benchmark table stands in for a supernet.

A table knows single cells; strategies on alphas ask for mixtures. The multilinear extension of the
table joins both: the expectation of a cell's score when the operation of each edge is drawn with
its mixing weight,

    a(W) = sum over cells of X(cell) * product over edges e of W[e, operation of the cell on e].

W need not lie on the simplex (an auxiliary skip, the slope at a single cell). X counts from its
mean there, so that weights of 0 are worth as much as the uniform ones.

A supernet ranks cells badly, so X is the table's validation accuracy V with an error that is fixed
for a run: X = max(V, accuracy_floor) + rank_noise * N(0, 1). (On CIFAR-10, Kendall's tau of X
with the true test accuracy is then 0.42.) Scale and noise are those of all landscapes
(`landscape_scores.py`).

It needs a table and a space of one cell whose genes are the operations of its edges, any of them.

Shapes: E edges, O operations, N candidates, R rows of the table; P, Q ways to fill the first and
the second half of the edges.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nasrun.benchmarks.table import Columns, Table
from nasrun.errors import UsageError, require
from nasrun.evaluators.landscape_scores import LandscapeScorer
from nasrun.protocols.predictor import Ranking
from nasrun.protocols.space import DifferentiableSpace
from nasrun.protocols.state import Streams


class Landscape(LandscapeScorer):
    """The landscape of a table; see the module's docstring.

    Args:
        rank_noise: standard deviation of a cell's error.
        accuracy_floor: accuracies below this one count as this one.
        accuracy_spread: standard deviation of the accuracy A over random alphas.
        loss_noise, accuracy_noise: standard deviations for 128 images.
        independent_share: share of `loss_noise` that is a candidate's own, in [0, 1].

    Raises:
        UsageError: most of the table is below the floor, or the space is of another kind.
    """

    without_weights: ClassVar[str] = (
        "evaluator=table has none: type evaluator=supernet_and_table, or leave evaluator out"
    )

    def __init__(
        self,
        space: DifferentiableSpace,
        table: Table,
        columns: Columns,
        streams: Streams,
        *,
        rank_noise: float,
        accuracy_floor: float,
        accuracy_spread: float,
        loss_noise: float,
        accuracy_noise: float,
        independent_share: float,
    ) -> None:
        median = float(np.nanmedian(columns.signal_R))
        allowed = f"below {median:.4g}, the median of the table, or the landscape is mostly flat"
        require(accuracy_floor < median, "evaluator.accuracy_floor", accuracy_floor, allowed)
        self.cell_type, (self.num_edges, self.num_operations) = only_cell(space, table)
        super().__init__(
            space,
            streams,
            loss_noise=loss_noise,
            accuracy_noise=accuracy_noise,
            independent_share=independent_share,
        )
        # It depends on the run's seed alone, so that a resumed run has the same landscape.
        fixed = streams.derived("landscape")
        cells = (self.num_operations,) * self.num_edges
        self.scores = np.empty(cells)  # X, an axis for each edge
        self._genes_RE = table.genes(space.encode)
        self.scores[tuple(self._genes_RE.T)] = np.fmax(columns.signal_R, accuracy_floor)
        # X = max(V, accuracy_floor) + rank_noise * N(0, 1); what is not known counts as the floor
        self.scores += rank_noise * fixed.numpy("cells").standard_normal(cells)
        self.calibrate(fixed.numpy("alphas"), accuracy_spread, self.extension)

    def extension(self, weights_NEO: np.ndarray) -> np.ndarray:
        """Return a(W) of each candidate, float64.

        It is two products over half of the edges each, and the sum over all pairs of half cells as
        one matrix product.
        """
        half = self.num_edges // 2
        first_NP, second_NQ = products(weights_NEO[:, :half]), products(weights_NEO[:, half:])
        # The axes of `scores` are the edges in order, so that its rows are fillings of the first
        # half and its columns of the second, both with the last edge fastest, as `products` has
        # them.
        scores_PQ = self.scores.reshape(first_NP.shape[1], second_NQ.shape[1])
        return ((first_NP @ scores_PQ) * second_NQ).sum(axis=1)

    def change(self, weights_NEO: np.ndarray) -> np.ndarray:
        """Return a(W) - a(uniform) of each candidate, float64."""
        # a(uniform) is the mean of the scores: the uniform W weighs all cells alike. Each cell has
        # it taken off, with the weight of the cell; on the simplex these weights add up to 1.
        mass_N = weights_NEO.sum(axis=2).prod(axis=1)
        return self.extension(weights_NEO) - mass_N * self.scores.mean()

    def differentiable_change(self, weights_EO: Tensor) -> Tensor:
        """Return the same of one candidate; the extension is linear in the weights of each edge."""
        change = torch.from_numpy(self.scores - self.scores.mean())
        for weights_O in weights_EO:  # sum over the first of the edges that are left
            change = torch.tensordot(weights_O, change, dims=1)
        return change

    def gated(self, weights_EO: Tensor, gates_E1: Tensor) -> Tensor:
        """Make of an edge with a gate g g times its mixture and 1 - g times `none`.

        On a supernet, too, an edge with a gate of 0 carries nothing. Without `none` it has less.
        """
        none_O = weights_EO.new_tensor([name == "none" for name in self._space.operations])
        return gates_E1 * weights_EO + (1 - gates_E1) * none_O

    def tau(self, true_R: np.ndarray) -> float | None:
        """Return Kendall's tau of X with the true accuracies of the rows of the table."""
        known_R = np.isfinite(true_R)
        return Ranking(self.scores[tuple(self._genes_RE.T)][known_R], true_R[known_R]).tau


def products(weights_NEO: np.ndarray) -> np.ndarray:
    """Return each candidate's weight of every way to fill these edges, products_NP with P = O^E.

    It is the product of the weights of the operations; the last edge changes fastest.
    """
    products_NP = weights_NEO[:, 0]
    for weights_NO in weights_NEO.swapaxes(0, 1)[1:]:
        # (N, P, 1) * (N, 1, O): one more edge, O times as many ways
        products_NPO = products_NP[:, :, None] * weights_NO[:, None]
        products_NP = products_NPO.reshape(len(products_NPO), -1)
    return products_NP


def only_cell(space: DifferentiableSpace, table: Table) -> tuple[str, tuple[int, int]]:
    """Return the type and the (E, O) of the only cell of a space.

    Raises:
        UsageError: the space has no landscape.
    """
    if space.differentiable and len(space.alpha_shapes) == 1:
        ((cell_type, (num_edges, num_operations)),) = space.alpha_shapes.items()
        complete = num_operations**num_edges == table.num_rows
        if space.cardinalities == (num_operations,) * num_edges and complete and num_edges > 1:
            return cell_type, (num_edges, num_operations)
    raise UsageError(
        f"evaluator=table cannot stand in for a supernet of space={space.name}, which is no grid "
        "of operations on the edges of one cell: type space=nasbench201, or leave evaluator out"
    )

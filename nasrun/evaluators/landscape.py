"""Score mixing weights without images: a benchmark table stands in for a supernet.

A table knows single cells; strategies on alphas ask for mixtures. The multilinear extension of the
table joins both: the expectation of a cell's score when the operation of each edge is drawn with
its mixing weight,

    a(W) = sum over cells of X(cell) * product over edges e of W[e, operation of the cell on e].

W need not lie on the simplex (an auxiliary skip, the slope at a single cell). X counts from its
mean there, so that weights of 0 are worth as much as the uniform ones.

A supernet ranks cells badly, so X is the table's validation accuracy V with an error that is fixed
for a run: X = max(V, accuracy_floor) + rank_noise * N(0, 1). (On CIFAR-10, Kendall's tau of X with
the true test accuracy is then 0.42.) The scale is that of a small supernet: its accuracy is
A = 0.45 + c * (a(W) - a(uniform)), with c such that the standard deviation of A over
W = softmax(z), z ~ N(0, 1), is `accuracy_spread`. The scores on n images:

    cross-entropy = 1.4 - 3 * (A - 0.45) + noise,     accuracy = round((A + noise) * n) / n.

Noise is proportional to 1 / sqrt(n). That of the accuracy is drawn for each candidate. Of the
cross-entropy's standard deviation the share `independent_share` is drawn for each candidate too;
the rest (so that the variances add up) is a random linear function of W - uniform that all
candidates of a batch have in common, as the images of one batch favour some operations. Over
W = softmax(z) it has the stated size; near the uniform W, where candidates hardly differ, less.

It needs a table and a space of one cell whose genes are the operations of its edges, any of them.

Shapes: E edges, O operations, N candidates, R rows of the table; P, Q ways to fill the first and
the second half of the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasrun.benchmarks.table import Columns, Table
from nasrun.errors import UsageError, require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.predictor import Ranking
from nasrun.protocols.scorer import Gradient, Scores
from nasrun.protocols.space import DifferentiableSpace, MixingWeights, Mixture, Statistics
from nasrun.protocols.state import Streams

ACCURACY_UNIFORM, LOSS_UNIFORM, LOSS_SLOPE = 0.45, 1.4, 3.0
NOISE_IMAGES = 128  # the noise has the size of the settings on so many images
NUM_DRAWS = 2000  # samples of z from which c is computed
BATCHES_PER_EPOCH = 20  # for strategies that move alphas before each batch of the weights


@dataclass(frozen=True)
class LandscapeBatch:
    """How many images would have been scored, and what they favour.

    That is drawn when they are first scored, so that a batch which is drawn early changes no noise
    of those that are scored before it.
    """

    num_images: int
    draw: Callable[[], np.ndarray]

    @cached_property
    def slope_EO(self) -> np.ndarray:
        return self.draw()


class Landscape:
    """A `Scorer` without weights: nothing is trained, and batch norm statistics mean nothing.

    Args:
        rank_noise: standard deviation of a cell's error.
        accuracy_floor: accuracies below this one count as this one.
        accuracy_spread: standard deviation of the accuracy A over random alphas.
        loss_noise, accuracy_noise: standard deviations for 128 images.
        independent_share: share of `loss_noise` that is a candidate's own, in [0, 1].

    Raises:
        UsageError: most of the table is below the floor, or the space is of another kind.
    """

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
        self.num_scorings = 0
        self._space = space
        self.cell_type, (self.num_edges, self.num_operations) = only_cell(space, table)
        self._accuracy_noise = accuracy_noise
        self._own_noise = independent_share * loss_noise
        self._noise = streams.numpy("landscape noise")
        # It depends on the run's seed alone, so that a resumed run has the same landscape.
        fixed = streams.derived("landscape")
        cells = (self.num_operations,) * self.num_edges
        self.scores = np.empty(cells)  # X, an axis for each edge
        self._genes_RE = table.genes(space.encode)
        self.scores[tuple(self._genes_RE.T)] = np.fmax(columns.signal_R, accuracy_floor)
        # X = max(V, accuracy_floor) + rank_noise * N(0, 1); what is not known counts as the floor
        self.scores += rank_noise * fixed.numpy("cells").standard_normal(cells)
        z_NEO = fixed.numpy("alphas").standard_normal((NUM_DRAWS, *self._shape))
        weights_NEO = np.exp(z_NEO) / np.exp(z_NEO).sum(axis=2, keepdims=True)
        # c: the deviation of A over these W is then `accuracy_spread`.
        self._scale = accuracy_spread / float(self.extension(weights_NEO).std())
        # Own and shared noise are independent: their variances add up to loss_noise^2.
        shared = loss_noise * np.sqrt(1 - independent_share**2)
        away_N = ((weights_NEO - 1 / self.num_operations) ** 2).sum(axis=(1, 2))
        # For slopes from N(0, s^2) the sum of (W - uniform) * slope has the variance s^2 |W -
        # uniform|^2; over W = softmax(z) its mean is to be shared^2.
        self._slope_size = shared / float(np.sqrt(away_N.mean()))

    @property
    def _shape(self) -> tuple[int, int]:
        return self.num_edges, self.num_operations

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

    def accuracy(self, weights_NEO: np.ndarray) -> np.ndarray:
        """Return A of each candidate, without noise."""
        # a(uniform) is the mean of the scores: the uniform W weighs all cells alike. Each cell has
        # it taken off, with the weight of the cell; on the simplex these weights add up to 1.
        mass_N = weights_NEO.sum(axis=2).prod(axis=1)
        change_N = self.extension(weights_NEO) - mass_N * self.scores.mean()
        return ACCURACY_UNIFORM + self._scale * change_N

    def tau(self, true_R: np.ndarray) -> float | None:
        """Return Kendall's tau of X with the true accuracies of the rows of the table."""
        known_R = np.isfinite(true_R)
        return Ranking(self.scores[tuple(self._genes_RE.T)][known_R], true_R[known_R]).tau

    def train_epoch(
        self,
        mixture: Callable[[], Mixture],
        before_batch: Callable[[], None] | None = None,
        after_batch: Callable[[MixingWeights], None] | None = None,
    ) -> dict[str, float]:
        """Train nothing, but do what comes before and after each batch of an epoch."""
        if before_batch is None and after_batch is None:
            return {}
        for _ in range(BATCHES_PER_EPOCH):
            if before_batch is not None:
                before_batch()
            if after_batch is not None:
                after_batch(self.gradient(mixture(), self.draw_batch(NOISE_IMAGES)).of_weights)
        return {}

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        """Train nothing; the landscape of single architectures is the table itself."""
        return {}

    def draw_batch(self, num_images: int) -> LandscapeBatch:
        """Draw what the next `num_images` images favour; all candidates of the batch share it."""
        size = self._slope_size * np.sqrt(NOISE_IMAGES / num_images)
        return LandscapeBatch(num_images, lambda: size * self._noise.standard_normal(self._shape))

    def draw_batches(self, sizes: Sequence[int]) -> list[LandscapeBatch]:
        return [self.draw_batch(size) for size in sizes]

    def score(
        self,
        candidates: Sequence[Mixture],
        batch: LandscapeBatch,
        statistics: Statistics = "batch",
    ) -> Scores:
        weights_NEO = torch.stack([self._weights(one) for one in candidates]).numpy()
        accuracy_N = self.accuracy(weights_NEO)
        away_NEO = weights_NEO - 1 / self.num_operations
        shared_N = (away_NEO * batch.slope_EO).sum(axis=(1, 2))
        own_2N = self._noise.standard_normal((2, len(candidates)))
        # noise of each candidate's own, in the cross-entropy and in the accuracy
        own_2N *= np.sqrt(NOISE_IMAGES / batch.num_images)
        noise_N = shared_N + self._own_noise * own_2N[0]
        loss_N = LOSS_UNIFORM - LOSS_SLOPE * (accuracy_N - ACCURACY_UNIFORM) + noise_N
        num_correct_N = (accuracy_N + self._accuracy_noise * own_2N[1]) * batch.num_images
        self.num_scorings += len(candidates)
        # The best corner of a lucky landscape may lie above 1.
        return Scores(loss_N, np.clip(num_correct_N.round() / batch.num_images, 0.0, 1.0))

    def score_paths(self, genotypes: Sequence[Genotype], batch: LandscapeBatch) -> Scores:
        return self.score([Mixture(self._space.one_hot(one)) for one in genotypes], batch)

    def gradient(
        self, mixture: Mixture, batch: LandscapeBatch, at_P: Tensor | None = None
    ) -> Gradient:
        """Differentiate exactly: the extension is linear in the weights of each edge.

        The loss has the noise that candidates on the same images share, whose slope is constant;
        the noise of a candidate's own has none. There are no weights for `at_P`.
        """
        assert at_P is None, "require_weights comes first"
        weights_EO = mixture.weights[self.cell_type].detach().clone().requires_grad_()
        leaves, gates = [weights_EO], None
        if mixture.gates is not None:
            leaves.append(mixture.gates[self.cell_type].detach().clone().requires_grad_())
            gates = {self.cell_type: leaves[1]}
        # the leaves have the float32 of the mixture, and the loss is float64 from here on
        here_EO = self._weights(Mixture({self.cell_type: weights_EO}, gates, mixture.active))
        mean = torch.from_numpy(self.scores - self.scores.mean())
        for here_O in here_EO:  # sum over the first of the edges that are left
            mean = torch.tensordot(here_O, mean, dims=1)
        accuracy = ACCURACY_UNIFORM + self._scale * mean
        away_EO = here_EO - 1 / self.num_operations
        noise = (away_EO * torch.from_numpy(batch.slope_EO)).sum()
        loss = LOSS_UNIFORM - LOSS_SLOPE * (accuracy - ACCURACY_UNIFORM) + noise
        by_weights, *by_gates = (one.float() for one in torch.autograd.grad(loss, leaves))
        self.num_scorings += 1
        return Gradient(
            float(loss.detach()),
            float(accuracy.detach().clamp(0, 1)),
            {self.cell_type: by_weights},
            {self.cell_type: by_gates[0]} if by_gates else None,
        )

    def _weights(self, mixture: Mixture) -> Tensor:
        """Return weights_EO of a mixture, float64; what is not active has no weight.

        A gate g makes of an edge g times its mixture and 1 - g times `none`, where the space has
        it: on a supernet, too, an edge with a gate of 0 carries nothing.
        """
        weights_EO = mixture.weights[self.cell_type].double()
        if mixture.active is not None:
            weights_EO = weights_EO * mixture.active[self.cell_type]
        if mixture.gates is not None:
            gates_E1 = mixture.gates[self.cell_type].double()[:, None]
            none_O = weights_EO.new_tensor([name == "none" for name in self._space.operations])
            weights_EO = gates_E1 * weights_EO + (1 - gates_E1) * none_O
        return weights_EO

    @property
    def learning_rate(self) -> float:
        return 0.0

    def require_weights(self, what: str) -> None:
        raise UsageError(
            f"{what} needs the weights of a supernet, and evaluator=table has none: "
            "type evaluator=supernet_and_table, or leave evaluator out"
        )

    def named_weights(self) -> dict[str, Tensor]:
        return {}

    def drop_skips(self, probability: float) -> None:
        """Do nothing: nothing is trained."""

    def parameters(self) -> Tensor:
        raise AssertionError("require_weights comes first")

    def unrolled(self, mixture: Mixture, batch: LandscapeBatch) -> Tensor:
        raise AssertionError("require_weights comes first")

    def next_batch(self) -> LandscapeBatch:
        raise AssertionError("require_weights comes first")

    def state_dict(self) -> dict[str, Any]:
        return {"num_scorings": self.num_scorings}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_scorings = state["num_scorings"]


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

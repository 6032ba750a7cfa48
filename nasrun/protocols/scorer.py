"""Define shared weights: what is trained once and then scores mixtures without training.

Shapes: N candidates, E edges, O operations, P numbers that the shared weights consist of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import MixingWeights, Mixture, Statistics
from nasrun.protocols.state import Stateful

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """Loss (cross-entropy, nats) and accuracy of N candidates on one batch; float64.

    `noise_N`: the standard error of a loss, compared with the mean of all candidates on the same
    images, that comes of the images being few; `None` where a single candidate was scored.
    """

    loss_N: np.ndarray
    accuracy_N: np.ndarray
    noise_N: np.ndarray | None = None


@dataclass(frozen=True)
class Gradient:
    """How the loss on a batch changes with a mixture; its tensors are on the CPU, float32.

    Failed (not finite) losses never get here: they stop the run, and name the learning rate.
    """

    loss: float  # cross-entropy, nats
    accuracy: float
    of_weights: MixingWeights  # cell type -> d loss / d weights_EO
    of_gates: Mapping[str, Tensor] | None = None  # cell type -> d loss / d gates_E, where given
    of_parameters_P: Tensor | None = None  # d loss / d shared weights, on their device, where given

    @property
    def by_parameters(self) -> Tensor:
        """The gradient by the shared weights, where it was asked for."""
        assert self.of_parameters_P is not None, "no parameters were given"
        return self.of_parameters_P

    def plus(self, factor: float, other: Gradient) -> Gradient:
        """Add `factor` times another gradient by the mixture; all else stays as it is here."""

        def summed(own: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: own[name] + factor * more[name] for name in own}

        gates = None
        if self.of_gates is not None and other.of_gates is not None:
            gates = summed(self.of_gates, other.of_gates)
        return replace(self, of_weights=summed(self.of_weights, other.of_weights), of_gates=gates)


class Scorer(Stateful, Protocol):
    """Shared weights that can be trained, and that score mixtures without training: a supernet, or
    the landscape of a benchmark table. A batch handle is opaque to the caller: all candidates that
    are compared are scored on the same one."""

    num_scorings: int  # how many candidates have been scored so far, gradients included

    @property
    def learning_rate(self) -> float:
        """The rate of this epoch's updates of the weights; 0 where there are none."""

    def require_weights(self, what: str) -> None:
        """Raise a `UsageError` about `what` unless there are weights that can be differentiated by,
        as `parameters`, `unrolled`, `next_batch` and a gradient `at` parameters need."""

    def train_epoch(
        self, mixture: Callable[[], Mixture], before_batch: Callable[[], None] | None = None
    ) -> dict[str, float]:
        """Train the weights in one pass over the training half; return metrics.

        `before_batch()` is called before each batch, then `mixture()`, which can be constant,
        sampled, or depend on alphas that `before_batch` moves.
        """

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        """Train one architecture alone in each batch of a pass, of those that `draw()` gives."""

    def draw_batch(self, num_images: int) -> Any:
        """Take the next `num_images` of the validation half, without augmentation."""

    def score(
        self, candidates: Sequence[Mixture], batch: Any, statistics: Statistics = "batch"
    ) -> Scores:
        """Score each mixture on the same batch."""

    def score_paths(self, genotypes: Sequence[Genotype], batch: Any) -> Scores:
        """Score single architectures, of which nothing else is computed, under batch statistics."""

    def gradient(self, mixture: Mixture, batch: Any, at_P: Tensor | None = None) -> Gradient:
        """Differentiate the loss on a batch by the mixture; the shared weights stay as they are.

        Where `at_P` is given, it takes the place of the shared weights, and the gradient is one by
        these, too.
        """

    def parameters(self) -> Tensor:
        """Copy the shared weights that are trained, end to end: parameters_P, on their device."""

    def unrolled(self, mixture: Mixture, batch: Any) -> Tensor:
        """Compute parameters_P after one update on a batch, by the momentum, the weight decay and
        the learning rate of the training; the shared weights stay as they are."""

    def named_weights(self) -> Mapping[str, Tensor]:
        """The shared weights and running statistics by name, for another scorer to inherit; empty
        where there are none."""

    def drop_skips(self, probability: float) -> None:
        """Drop elements of the outputs of skip connections in training, from the next batch on."""

    def next_batch(self) -> Any:
        """The batch of the training half on which the weights are trained next; within
        `before_batch` only."""

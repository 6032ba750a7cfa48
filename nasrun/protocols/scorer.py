"""Define shared weights: what is trained once and then scores mixtures without training.

Shapes: N candidates, E edges, O operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    """How the loss on a batch changes with a mixture; all tensors are on the CPU, float32.

    Failed (not finite) losses never get here: they stop the run, and name the learning rate.
    """

    loss: float  # cross-entropy, nats
    accuracy: float
    of_weights: MixingWeights  # cell type -> d loss / d weights_EO
    of_gates: Mapping[str, Tensor] | None = None  # cell type -> d loss / d gates_E, where given


class Scorer(Stateful, Protocol):
    """Shared weights that can be trained, and that score mixtures without training: a supernet, or
    the landscape of a benchmark table. A batch handle is opaque to the caller: all candidates that
    are compared are scored on the same one."""

    num_scorings: int  # how many candidates have been scored so far, gradients included

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

    def draw_batches(self, sizes: Sequence[int]) -> list[Any]:
        """Take batches of the validation half of which no two share an image.

        For a step that chooses on some images and judges its choice on others: two calls of
        `draw_batch` may return the same images. Where the half has fewer images than that, all
        sizes are cut in proportion.
        """

    def score(
        self, candidates: Sequence[Mixture], batch: Any, statistics: Statistics = "batch"
    ) -> Scores:
        """Score each mixture on the same batch."""

    def score_paths(self, genotypes: Sequence[Genotype], batch: Any) -> Scores:
        """Score single architectures, of which nothing else is computed, under batch statistics."""

    def gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        """Differentiate the loss on a batch by the mixture; the shared weights stay as they are."""

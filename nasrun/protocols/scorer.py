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
    `metric_N`: what the search maximises, where that is not the accuracy.
    """

    loss_N: np.ndarray
    accuracy_N: np.ndarray
    noise_N: np.ndarray | None = None
    metric_N: np.ndarray | None = None

    @property
    def quality_N(self) -> np.ndarray:
        """What candidates are compared by: the metric that the search maximises."""
        return self.accuracy_N if self.metric_N is None else self.metric_N

    def at(self, places: np.ndarray) -> Scores:
        """Return the scores of some candidates, in another order."""
        noise_N, metric_N = self.noise_N, self.metric_N
        return Scores(
            self.loss_N[places],
            self.accuracy_N[places],
            None if noise_N is None else noise_N[places],
            None if metric_N is None else metric_N[places],
        )

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Return the mean validation accuracy of the candidates, and that of another metric."""
        found = {f"{prefix}val_accuracy": float(np.mean(self.accuracy_N))}
        if self.metric_N is not None:
            found[f"{prefix}val_score"] = float(np.mean(self.metric_N))
        return found


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average the scores of the same candidates on several batches."""
    if len(scores) == 1:
        return scores[0]
    noises = [score.noise_N for score in scores if score.noise_N is not None]
    squares = np.square(noises).sum(axis=0)  # an average over batches is so much surer
    return Scores(
        np.mean([score.loss_N for score in scores], axis=0),
        np.mean([score.accuracy_N for score in scores], axis=0),
        np.sqrt(squares) / len(scores) if noises else None,
        None if scores[0].metric_N is None else np.mean([s.quality_N for s in scores], axis=0),
    )


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
    """Shared weights that are trained once and then score mixtures without training.

    They are a supernet, or the landscape of a benchmark table. A batch handle is opaque to the
    caller: all candidates that are compared are scored on the same one.
    """

    num_scorings: int  # how many candidates have been scored so far, gradients included

    @property
    def learning_rate(self) -> float:
        """The rate of this epoch's updates of the weights; 0 where there are none."""

    def require_weights(self, what: str) -> None:
        """Raise a `UsageError` about `what` unless there are weights to differentiate by.

        `parameters`, `unrolled`, `next_batch` and a gradient `at` parameters need them.
        """

    def train_epoch(
        self,
        mixture: Callable[[], Mixture],
        before_batch: Callable[[], None] | None = None,
        after_batch: Callable[[MixingWeights], None] | None = None,
    ) -> dict[str, float]:
        """Train the weights in one pass over the training half; return metrics.

        `before_batch()` is called before each batch, then `mixture()`, which can be constant,
        sampled, or depend on alphas that `before_batch` moves. `after_batch(of_weights)` is told
        how the loss of the batch has changed with the weights of its mixture, which costs no pass
        of its own: cell type -> d loss / d weights_EO, on the CPU.
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
        """Score single architectures under batch statistics; no other operation is computed."""

    def gradient(self, mixture: Mixture, batch: Any, at_P: Tensor | None = None) -> Gradient:
        """Differentiate the loss on a batch by the mixture; the shared weights stay as they are.

        Where `at_P` is given, it takes the place of the shared weights, and the gradient is one by
        these, too.
        """

    def parameters(self) -> Tensor:
        """Copy the shared weights that are trained, end to end: parameters_P, on their device."""

    def unrolled(self, mixture: Mixture, batch: Any) -> Tensor:
        """Compute parameters_P after one update on a batch; the shared weights stay as they are.

        Momentum, weight decay and learning rate are those of the training.
        """

    def named_weights(self) -> Mapping[str, Tensor]:
        """Return the shared weights and running statistics by name, for another scorer to inherit.

        It is empty where there are none.
        """

    def drop_skips(self, probability: float) -> None:
        """Drop elements of the outputs of skip connections in training, from the next batch on."""

    def next_batch(self) -> Any:
        """Return the batch on which the weights are trained next; within `before_batch` only."""

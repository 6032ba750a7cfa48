"""Score mixing weights without images: what all landscapes have in common.

A landscape says how good each mixture is, a(W), and a subclass says where that comes from. It is
put to the scale of a small supernet: its accuracy is A = 0.45 + c * (a(W) - a(uniform)), with c
such that the standard deviation of A over W = softmax(z), z ~ N(0, 1), is `accuracy_spread`. The
scores on n images:

    cross-entropy = 1.4 - 3 * (A - 0.45) + noise,     accuracy = round((A + noise) * n) / n.

Noise is proportional to 1 / sqrt(n). That of the accuracy is drawn for each candidate. Of the
cross-entropy's standard deviation the share `independent_share` is drawn for each candidate too;
the rest (so that the variances add up) is a random linear function of W - uniform that all
candidates of a batch have in common, as the images of one batch favour some operations. Over
W = softmax(z) it has the stated size; near the uniform W, where candidates hardly differ, less.

Shapes: E edges, of all cell types one after the other, O operations, N candidates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.scorer import Gradient, Scorer, Scores
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


class LandscapeScorer(Scorer):
    """A `Scorer` without weights: nothing is trained, and batch norm statistics mean nothing.

    A subclass calls `calibrate` once it can tell what mixtures are worth.

    Args:
        loss_noise, accuracy_noise: standard deviations for 128 images.
        independent_share: share of `loss_noise` that is a candidate's own, in [0, 1].
    """

    without_weights: ClassVar[str]  # how to get a supernet in place of it, for a sentence

    def __init__(
        self,
        space: DifferentiableSpace,
        streams: Streams,
        *,
        loss_noise: float,
        accuracy_noise: float,
        independent_share: float,
    ) -> None:
        self.num_scorings = 0
        self._space = space
        self._shape = sum(shape[0] for shape in space.alpha_shapes.values()), len(space.operations)
        self._noise = streams.numpy("landscape noise")
        self._accuracy_noise = accuracy_noise
        self._own_noise = independent_share * loss_noise
        # Own and shared noise are independent: their variances add up to loss_noise^2.
        self._shared_noise = loss_noise * np.sqrt(1 - independent_share**2)

    def calibrate(
        self, alphas: np.random.Generator, accuracy_spread: float, value: Callable[..., np.ndarray]
    ) -> None:
        """Find c, and the size of the noise that candidates share.

        Args:
            alphas: draws z.
            value: from weights_NEO, float64, to a(W) of each candidate.
        """
        z_NEO = alphas.standard_normal((NUM_DRAWS, *self._shape))
        weights_NEO = np.exp(z_NEO) / np.exp(z_NEO).sum(axis=2, keepdims=True)
        # c: the deviation of A over these W is then `accuracy_spread`.
        self._scale = accuracy_spread / float(value(weights_NEO).std())
        away_N = ((weights_NEO - 1 / self._shape[1]) ** 2).sum(axis=(1, 2))
        # For slopes from N(0, s^2) the sum of (W - uniform) * slope has the variance s^2 |W -
        # uniform|^2; over W = softmax(z) its mean is to be the square of the shared noise.
        self._slope_size = self._shared_noise / float(np.sqrt(away_N.mean()))

    @abstractmethod
    def change(self, weights_NEO: np.ndarray) -> np.ndarray:
        """Return a(W) - a(uniform) of each candidate, float64."""

    @abstractmethod
    def differentiable_change(self, weights_EO: Tensor) -> Tensor:
        """Return a(W) - a(uniform) of one candidate, float64, for autograd."""

    @abstractmethod
    def gated(self, weights_EO: Tensor, gates_E1: Tensor) -> Tensor:
        """Return the weights of edges of which only a share is there."""

    def accuracy(self, weights_NEO: np.ndarray) -> np.ndarray:
        """Return A of each candidate, without noise."""
        return ACCURACY_UNIFORM + self._scale * self.change(weights_NEO)

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
        """Train nothing; the landscape of single architectures is what they are worth."""
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
        weights_NEO = torch.stack([self.weights(one) for one in candidates]).numpy()
        accuracy_N = self.accuracy(weights_NEO)
        away_NEO = weights_NEO - 1 / self._shape[1]
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
        """Differentiate exactly.

        The loss has the noise that candidates on the same images share, whose slope is constant;
        the noise of a candidate's own has none. There are no weights for `at_P`.
        """
        assert at_P is None, "require_weights comes first"
        weights, gates = leaves_of(mixture.weights), None
        if mixture.gates is not None:
            gates = leaves_of(mixture.gates)
        leaves = [*weights.values(), *(gates or {}).values()]
        # the leaves have the float32 of the mixture, and the loss is float64 from here on
        here_EO = self.weights(Mixture(weights, gates, mixture.active))
        accuracy = ACCURACY_UNIFORM + self._scale * self.differentiable_change(here_EO)
        away_EO = here_EO - 1 / self._shape[1]
        noise = (away_EO * torch.from_numpy(batch.slope_EO)).sum()
        loss = LOSS_UNIFORM - LOSS_SLOPE * (accuracy - ACCURACY_UNIFORM) + noise
        slopes = [one.float() for one in torch.autograd.grad(loss, leaves)]
        self.num_scorings += 1
        return Gradient(
            float(loss.detach()),
            float(accuracy.detach().clamp(0, 1)),
            dict(zip(weights, slopes, strict=False)),
            None if gates is None else dict(zip(gates, slopes[len(weights) :], strict=True)),
        )

    def weights(self, mixture: Mixture) -> Tensor:
        """Return weights_EO of a mixture, float64; what is not active has no weight."""
        parts = list[Tensor]()
        for name in self._space.alpha_shapes:
            weights_EO = mixture.weights[name].double()
            if mixture.active is not None:
                weights_EO = weights_EO * mixture.active[name]
            if mixture.gates is not None:
                weights_EO = self.gated(weights_EO, mixture.gates[name].double()[:, None])
            parts.append(weights_EO)
        return torch.cat(parts)

    @property
    def learning_rate(self) -> float:
        return 0.0

    def require_weights(self, what: str) -> None:
        raise UsageError(f"{what} needs the weights of a supernet, and {self.without_weights}")

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


def leaves_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors as numbers to differentiate by."""
    return {name: one.detach().clone().requires_grad_() for name, one in tensors.items()}

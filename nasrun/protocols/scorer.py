"""The seam of shared weights: what is trained once and then scores candidates without training.

A part of `protocols` in a file of its own. Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import MixingWeights, Statistics
from nasrun.protocols.state import Stateful


@dataclass(frozen=True)
class Scores:
    """Loss (cross-entropy, nats) and accuracy of N candidates on one batch; float64.

    `noise_N`: the standard error of a loss, compared with the mean of all candidates on the same
    images, that comes of the images being few; `None` where a single candidate was scored.
    """

    loss_N: np.ndarray
    accuracy_N: np.ndarray
    noise_N: np.ndarray | None = None


class Scorer(Stateful, Protocol):
    """Shared weights that can be trained, and that score mixing weights without training: a
    supernet, or the landscape of a benchmark table. A batch handle is opaque to the caller: all
    candidates that are compared are scored on the same one."""

    num_scorings: int  # how many candidates have been scored so far

    def train_epoch(
        self,
        weights: Callable[[], MixingWeights],
        before_batch: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """One pass over the training half. `weights()` is asked for each batch, so that it can be
        constant, sampled, or depend on alphas that `before_batch` moves. Returns metrics."""

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        """One pass over the training half in which each batch trains one architecture alone, of
        those that `draw()` gives."""

    def draw_batch(self, num_images: int) -> Any:
        """The next `num_images` of the validation half, without augmentation."""

    def score(
        self, candidates: Sequence[MixingWeights], batch: Any, statistics: Statistics = "batch"
    ) -> Scores: ...

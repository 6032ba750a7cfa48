"""Pass every call on to a collaborator, so that a subclass can change one thing about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.result import Final
from nasrun.protocols.scorer import Gradient, Scorer, Scores
from nasrun.protocols.space import ArchGraph, MixingWeights, Mixture, Statistics

if TYPE_CHECKING:
    from torch import Tensor


class WrappedEvaluator(Evaluator):
    """An evaluator that does what another one does; a subclass overrides what it does itself."""

    needs_images: ClassVar[bool] = False  # a question to the class that a configuration names

    def __init__(self, inner: Evaluator) -> None:
        self.inner = inner
        self.labels_are_scores = inner.labels_are_scores
        self.objectives = inner.objectives
        self.at_once = inner.at_once
        self.optimum = inner.optimum
        self.size, self.shape = inner.size, inner.shape

    @property
    def num_scorings(self) -> int:
        return self.inner.num_scorings

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return self.inner.evaluate(genotypes)

    def scorer(self, **settings: Any) -> Scorer:
        return self.inner.scorer(**settings)

    def shared_weights(self) -> Mapping[str, Tensor]:
        return self.inner.shared_weights()

    def final(self, genotype: Genotype) -> Final:
        return self.inner.final(genotype)

    def fingerprint(self) -> str | None:
        return self.inner.fingerprint()

    def held_out(
        self, labels: Sequence[Evaluation], limit: int
    ) -> tuple[Sequence[ArchGraph], np.ndarray]:
        return self.inner.held_out(labels, limit)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(dict(state))


class WrappedScorer(Scorer):
    """A scorer that does what another one does; a subclass overrides what it does itself."""

    def __init__(self, inner: Scorer) -> None:
        self.inner = inner

    @property
    def num_scorings(self) -> int:  # type: ignore[override]  # counted by the inner one
        return self.inner.num_scorings

    def train_epoch(
        self,
        mixture: Callable[[], Mixture],
        before_batch: Callable[[], None] | None = None,
        after_batch: Callable[[MixingWeights], None] | None = None,
    ) -> dict[str, float]:
        return self.inner.train_epoch(mixture, before_batch, after_batch)

    def train_paths(self, draw: Callable[[], Genotype]) -> dict[str, float]:
        return self.inner.train_paths(draw)

    def draw_batch(self, num_images: int) -> Any:
        return self.inner.draw_batch(num_images)

    def draw_batches(self, sizes: Sequence[int]) -> list[Any]:
        return self.inner.draw_batches(sizes)

    def score(
        self, candidates: Sequence[Mixture], batch: Any, statistics: Statistics = "batch"
    ) -> Scores:
        return self.inner.score(candidates, batch, statistics)

    def score_paths(self, genotypes: Sequence[Genotype], batch: Any) -> Scores:
        return self.inner.score_paths(genotypes, batch)

    @property
    def learning_rate(self) -> float:
        return self.inner.learning_rate

    def require_weights(self, what: str) -> None:
        self.inner.require_weights(what)

    def gradient(self, mixture: Mixture, batch: Any, at_P: Tensor | None = None) -> Gradient:
        return self.inner.gradient(mixture, batch, at_P)

    def parameters(self) -> Tensor:
        return self.inner.parameters()

    def unrolled(self, mixture: Mixture, batch: Any) -> Tensor:
        return self.inner.unrolled(mixture, batch)

    def named_weights(self) -> Mapping[str, Tensor]:
        return self.inner.named_weights()

    def drop_skips(self, probability: float) -> None:
        self.inner.drop_skips(probability)

    def next_batch(self) -> Any:
        return self.inner.next_batch()

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(dict(state))

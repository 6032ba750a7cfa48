"""Pass every call on to a collaborator, so that a subclass can change one thing about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.result import Final
from nasrun.protocols.scorer import Gradient, Scorer, Scores
from nasrun.protocols.space import (
    ArchGraph,
    DifferentiableSpace,
    MixingWeights,
    Mixture,
    Network,
    NetworkSize,
    Statistics,
    Supernet,
    TrainingHints,
)

if TYPE_CHECKING:
    from torch import Tensor


class WrappedEvaluator(Evaluator):
    """An evaluator that does what another one does; a subclass overrides what it does itself."""

    needs_images: ClassVar[bool] = False  # a question to the class that a configuration names

    def __init__(self, inner: Evaluator) -> None:
        self.inner = inner
        self.labels_are_scores = inner.labels_are_scores
        self.objectives = inner.objectives
        self.at_once, self.bracket = inner.at_once, inner.bracket
        self.optimum = inner.optimum
        self.size, self.shape = inner.size, inner.shape
        self.makers_size = inner.makers_size

    @property
    def num_scorings(self) -> int:
        return self.inner.num_scorings

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return self.inner.evaluate(genotypes)

    def work(self, task: Any) -> Any:
        return self.inner.work(task)

    def scorer(self, **settings: Any) -> Scorer:
        return self.inner.scorer(**settings)

    def shared_weights(self) -> Mapping[str, Tensor]:
        return self.inner.shared_weights()

    def final(self, genotype: Genotype) -> Final:
        return self.inner.final(genotype)

    def best_within(self, holds: Callable[[Genotype], bool]) -> float | None:
        return self.inner.best_within(holds)

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


class WrappedSpace(DifferentiableSpace):
    """A space that offers what another one does; a subclass overrides what it does itself."""

    def __init__(self, inner: DifferentiableSpace) -> None:
        self.inner = inner
        self.name, self.cardinalities, self.operations = (
            inner.name,
            inner.cardinalities,
            inner.operations,
        )
        self.channels, self.cells = inner.channels, inner.cells
        self.differentiable = inner.differentiable  # type: ignore[misc]  # each has its own
        self.counts_by_formula = inner.counts_by_formula  # type: ignore[misc]
        self.takes, self.left_aside = inner.takes, inner.left_aside  # type: ignore[misc]
        if inner.differentiable:
            self.alpha_shapes, self.edges = inner.alpha_shapes, inner.edges
            self.edges_per_node, self.inherits = inner.edges_per_node, inner.inherits

    def sample(self, rng: np.random.Generator) -> Genotype:
        return self.inner.sample(rng)

    def validate(self, genotype: Genotype) -> None:
        self.inner.validate(genotype)

    def canonical(self, genotype: Genotype) -> str:
        return self.inner.canonical(genotype)

    def pruned(self, genotype: Genotype) -> Genotype:
        return self.inner.pruned(genotype)

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        return self.inner.mutate(parent, rng)

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        return self.inner.crossover(first, second, rng)

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        return self.inner.neighbours(genotype)

    def edge_moves(self, genotype: Genotype) -> list[Genotype]:
        return self.inner.edge_moves(genotype)

    def largest(self) -> Genotype | None:
        return self.inner.largest()

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        return self.inner.encode(genotype)

    def decode(self, genes: Sequence[int]) -> Genotype:
        return self.inner.decode(genes)

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        return self.inner.from_vector(vector_D)

    def to_vector(self, genotype: Genotype) -> np.ndarray:
        return self.inner.to_vector(genotype)

    def size(self) -> int:
        return self.inner.size()

    def enumerate(self) -> Iterator[Genotype]:
        return self.inner.enumerate()

    def graph(self, genotype: Genotype) -> ArchGraph:
        return self.inner.graph(genotype)

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        return self.inner.network(genotype, shape, size)

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        return self.inner.params_and_flops(genotype, shape, size)

    def training_hints(self, genotype: Genotype) -> TrainingHints:
        return self.inner.training_hints(genotype)

    def supernet(self, shape: TaskShape, **settings: Any) -> Supernet:
        return self.inner.supernet(shape, **settings)

    def inherited(self, genotype: Genotype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.inner.inherited(genotype, weights)

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        return self.inner.discretise(weights, gates)

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        return self.inner.one_hot(genotype)

    def one_hot_gates(self, genotype: Genotype) -> dict[str, Tensor]:
        return self.inner.one_hot_gates(genotype)


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

"""The seams of the program: what a space, a dataset, a strategy and an evaluator must offer.

Plug-ins see each other only through this file, `scoring` and `prediction`. Shapes: B batch,
C channels, H height, W width, E edges, O operations, K classes, N candidates, V graph vertices.

Everything is minimised except where a name says accuracy; accuracies are fractions in [0, 1].
No torch at import time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from nasrun.genotype import Genotype

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor, nn

    from nasrun.device import Device
    from nasrun.labels import Labels
    from nasrun.process_group import Share
    from nasrun.scoring import Scorer
    from nasrun.workers import Workers

MixingWeights: TypeAlias = "Mapping[str, Tensor]"
"""Cell type -> weights_EO, float32: how much each operation contributes to each edge."""

Batch: TypeAlias = "tuple[Tensor, Tensor]"
"""(images_BCHW float32, normalised, on the device; labels_B int64)."""

Statistics: TypeAlias = Literal["update", "batch", "running"]
"""Batch norm: normalise by the batch and update the running statistics; normalise by the batch and
leave them alone; normalise by the running statistics."""


# ---------------------------------------------------------------------------- data


@dataclass(frozen=True)
class TaskShape:
    """What a network must accept and produce: C input channels, their spatial size, K classes."""

    channels: int
    size: tuple[int, ...]  # (H, W) for images, (L,) for signals
    num_classes: int


class Split(Protocol):
    """Labelled raw inputs (uint8 or float32), before augmentation and normalisation."""

    labels_N: Tensor  # int64, on the CPU
    search_shares: tuple[float, float]  # of each class: what a search trains and validates on

    def __len__(self) -> int: ...

    def subset(self, indices_M: Tensor) -> Split: ...

    def batches(
        self, order_M: Tensor, batch_size: int, device: torch.device, crops: Generator | None = None
    ) -> Iterator[Batch]:
        """The raw inputs in the given order; the last batch may be smaller. For training, `crops`
        (on the CPU) draws the crops of a split that decodes on the fly; `augment` follows."""


class Dataset(Protocol):
    """A classification task. Constructed from `conf/dataset/<name>.yaml`; checked when built."""

    name: str
    shape: TaskShape
    batch_size: int  # the default size of a training batch

    @property
    def train(self) -> Split: ...

    @property
    def test(self) -> Split:
        """Looked at once, at the very end."""

    def augment(
        self,
        raw_BCHW: Tensor,
        generator: torch.Generator,
        cutout: bool,
        share: Share | None = None,
    ) -> Tensor:
        """Random crops, flips and cutout that suit this data; same shape and dtype. `generator`
        lives on the CPU; `cutout` is the recipe's choice, its length the dataset's. Of a share,
        the draws are those that these images have in the whole batch."""

    def normalise(self, raw_BCHW: Tensor) -> Tensor:
        """float32, zero mean and unit deviation per channel over the training set."""

    def fingerprint(self) -> str:
        """A checksum of the data, for the record of the run."""


# ---------------------------------------------------------------------------- spaces


@dataclass(frozen=True)
class NetworkSize:
    """How large a network is built from a genotype. `None` means the space's own search size."""

    channels: int | None = None
    cells: int | None = None
    auxiliary: bool = False  # an auxiliary head, where the feature map is large enough for one
    stem: Literal["cifar", "imagenet"] | None = None


@dataclass(frozen=True)
class ArchGraph:
    """All that a predictor may know of an architecture: a labelled directed acyclic graph.

    Vertex 0 is the input, the last vertex the output; `adjacency_VV[i, j]` is 1 for i -> j, i < j.
    """

    labels: tuple[str, ...]
    adjacency_VV: np.ndarray  # uint8


@runtime_checkable
class SearchSpace(Protocol):
    """A set of architectures. `rng` is always an argument; nothing draws globally."""

    name: str
    cardinalities: tuple[int, ...]  # of the integer genes

    def sample(self, rng: np.random.Generator) -> Genotype: ...

    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless the genotype belongs to this space."""

    def canonical(self, genotype: Genotype) -> str:
        """A key that is equal for genotypes that compute the same function."""

    def pruned(self, genotype: Genotype) -> Genotype:
        """The same network without the parts of the genotype that are none of it."""

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene changed: valid, and different from the parent."""

    def crossover(
        self, first: Genotype, second: Genotype, rng: np.random.Generator
    ) -> Genotype: ...

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """All genotypes that differ in one gene."""

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """The integer genes, each in [0, cardinality)."""

    def decode(self, genes: Sequence[int]) -> Genotype: ...

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        """The genotype at a point of the unit cube, one coordinate per gene."""

    def to_vector(self, genotype: Genotype) -> np.ndarray: ...

    def size(self) -> int:
        """How many genotypes there are, isomorphic ones counted apart."""

    def enumerate(self) -> Iterator[Genotype]:
        """All genotypes; raises `UsageError` where there are too many."""

    def graph(self, genotype: Genotype) -> ArchGraph: ...

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network: ...


class Network(Protocol):
    """The network of one genotype, trained from scratch. Every network is an `nn.Module`."""

    drop_path: float  # the current probability, set by the trainer before each epoch

    def __call__(self, images_BCHW: Tensor) -> Tensor: ...

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """logits_BK, and the auxiliary head's logits_BK where there is one."""


class Supernet(Protocol):
    """All architectures of a space in one network with shared weights. It stores no alphas.

    `weights` need not lie on a simplex. `gates` scale an edge together with its bypass (partial
    channels); `active` names the operations that are computed at all (default: all).
    """

    def __call__(
        self,
        images_BCHW: Tensor,
        weights: MixingWeights,
        *,
        gates: Mapping[str, Tensor] | None = None,  # cell type -> gates_E
        active: Mapping[str, Tensor] | None = None,  # cell type -> active_EO, bool
        statistics: Statistics = "update",
    ) -> Tensor: ...

    def each(
        self, images_BCHW: Tensor, candidates: Iterable[MixingWeights], statistics: Statistics
    ) -> Iterator[Tensor]:
        """What a call with each candidate's weights returns (not with "update"); what they have in
        common need be computed only once."""


@runtime_checkable
class DifferentiableSpace(SearchSpace, Protocol):
    """A space that can be relaxed: its edges mix operations by continuous weights."""

    operations: tuple[str, ...]
    alpha_shapes: Mapping[str, tuple[int, int]]  # cell type -> (E, O)

    def supernet(
        self,
        shape: TaskShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        partial_channels: int | None = None,
        active: Mapping[str, Tensor] | None = None,
        skip_dropout: float = 0.0,
    ) -> Supernet:
        """A fresh supernet; `None` takes the space's own setting. Operations that are not `active`
        are not built, so that a space can shrink during the search."""

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        """The architecture that the paper of the space derives from mixing weights; `gates` (cell
        type -> gates_E) weigh the edges against each other, as in PC-DARTS."""

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Mixing weights at which the supernet computes just this genotype. An edge that the
        genotype leaves out has a row of zeros; `discretise` is the inverse."""

    def one_hot_gates(self, genotype: Genotype) -> dict[str, Tensor]:
        """Cell type -> gates_E: 0 for the edges that the genotype leaves out, else 1."""


# ---------------------------------------------------------------------------- scores


class Stateful(Protocol):
    """What a checkpoint saves: tensors and plain values, to be read without unpickling objects."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one true evaluation. A failed one has an error and values of infinity."""

    genotype: Genotype
    values: tuple[float, ...]  # the objectives, minimised; the first is the validation error
    cost_s: float
    details: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


class Evaluator(Protocol):
    """Genotypes in, objectives out. `Labels` wraps one with the cache, the count and the budget; it
    asks for one genotype at a time, and makes a record of a training that fails with one of
    `labels.FAILURES`. One that can do more is `AtOnce`."""

    objectives: tuple[str, ...]
    needs_images: ClassVar[bool]  # whether it trains on the dataset

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]: ...


@runtime_checkable
class AtOnce(Evaluator, Protocol):
    """An evaluator that is given all that is new in one call, such as a population, and works on
    `at_once` of them side by side. The evaluations are in the order of the genotypes, whatever was
    finished first; a training that fails with one of `labels.FAILURES` is one with an error."""

    at_once: int


class LooksUp(Evaluator, Protocol):
    """An evaluator that knows more of the result than a search may see."""

    def final(self, genotype: Genotype) -> dict[str, Any]:
        """Keys that `result.json` gets besides; asked once, when the search is over."""


@runtime_checkable
class OneShot(Evaluator, Stateful, Protocol):
    """Its labels are scores on shared weights, whose training a resumed run does not repeat."""

    num_scorings: int


# ---------------------------------------------------------------------------- strategies


@dataclass(frozen=True)
class StepReport:
    """What one step of a strategy did. The driver records it; strategies never log."""

    metrics: Mapping[str, float]
    evaluations: tuple[Evaluation, ...] = ()
    incumbent: Genotype | None = None
    weights: MixingWeights | None = None  # shown as heat maps


class Progress(Protocol):
    """A callback for work inside a step: how much is done, and a few figures to show."""

    def __call__(self, done: int, total: int, **figures: float) -> None: ...


class Streams(Protocol):
    """Named, independent generators from one seed; their states are in every checkpoint."""

    def numpy(self, name: str) -> np.random.Generator: ...

    def torch(self, name: str) -> torch.Generator: ...

    def derived(self, name: str) -> Streams:
        """Streams of their own, from the seed and `name` alone: fresh each time, never saved."""

    def global_torch(self, name: str, rank: int = 0) -> AbstractContextManager[None]:
        """Within the context, torch's global generator is seeded from the stream (weights are
        initialised and dropout draws from it), for each rank otherwise; afterwards it is as it
        was."""


class SearchContext(Protocol):
    """What a strategy may use. Collaborators are built when first touched."""

    streams: Streams

    @property
    def device(self) -> Device: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def dataset(self) -> Dataset: ...

    @property
    def dataset_name(self) -> str:
        """For those that need no images, so that none are loaded."""

    @property
    def space(self) -> Any:
        """The search space; `space_needs` of the strategy says which protocol it satisfies."""

    @property
    def evaluator(self) -> Labels:
        """True evaluations, counted, cached and within `budget.evaluations`."""

    def workers(self, count: int | None) -> Workers:
        """Processes with an evaluator of their own each, to train candidates in: `None` takes one
        per GPU, or else per CPU core. They start with the first task, and end with the search. A
        task is a genotype and `device.parts`; the answer is its evaluation and what these became.
        """

    def scorer(self, **settings: Any) -> Scorer:
        """A fresh one from `evaluator=`; the settings are those of `SupernetScorer`."""


class Strategy(Stateful, Protocol):
    """A search method. Its constructor takes the context, then hyper-parameters by keyword.

    `step()` is the method's natural unit of work: an epoch, a generation, a child, a round.
    """

    unit: ClassVar[str]  # a label for people
    space_needs: ClassVar[type]  # SearchSpace or DifferentiableSpace

    @property
    def finished(self) -> bool: ...

    @property
    def total_steps(self) -> int | None:
        """How many steps the whole search has, where that is known."""

    def step(self) -> StepReport: ...

    def best(self) -> tuple[Genotype, ...]:
        """The result: one genotype, or the Pareto front with the chosen one first."""


def as_module(network: Network | Supernet) -> nn.Module:
    """The same object, typed as the `nn.Module` that every network and supernet is."""
    return network  # type: ignore[return-value]

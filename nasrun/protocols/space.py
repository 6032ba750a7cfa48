"""Define what a search space, a network and a supernet offer.

Shapes: B batch, C channels, H height, W width, E edges, O operations, K classes, V graph vertices.
No torch at import time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape

if TYPE_CHECKING:
    from torch import Tensor, nn


MixingWeights: TypeAlias = "Mapping[str, Tensor]"
"""Cell type -> weights_EO, float32: how much each operation contributes to each edge."""


class Mixture(NamedTuple):
    """How a supernet mixes its operations; the same for training, scoring and gradients.

    Softmax of alphas, a sample of CMA-ES, a Gumbel or Dirichlet sample and the one-hot weights of a
    single architecture are all mixtures, and whoever makes one decides which.
    """

    weights: MixingWeights  # cell type -> weights_EO; they need not lie on a simplex
    gates: Mapping[str, Tensor] | None = None
    """Cell type -> gates_E: scale an edge together with its bypass (partial channels)."""
    active: Mapping[str, Tensor] | None = None
    """Cell type -> active_EO, bool: the operations that are computed at all; `None` is all."""

    @property
    def is_plain(self) -> bool:
        """Return whether every operation is computed and no edge is scaled."""
        return self.gates is None and self.active is None

    @classmethod
    def single(cls, space: DifferentiableSpace, genotype: Genotype) -> Mixture:
        """Make the mixture with which a supernet computes one architecture and nothing besides."""
        weights = space.one_hot(genotype)
        active = {name: weights_EO > 0 for name, weights_EO in weights.items()}
        return cls(weights, space.one_hot_gates(genotype), active)


Statistics: TypeAlias = Literal["update", "batch", "running"]
"""Batch norm: normalise by the batch and update the running statistics; normalise by the batch and
leave them alone; normalise by the running statistics."""


@dataclass(frozen=True)
class NetworkSize:
    """How large a network is built from a genotype. `None` means the space's own search size."""

    channels: int | None = None
    cells: int | None = None
    auxiliary: bool = False  # an auxiliary head, where the feature map is large enough for one
    stem: Literal["cifar", "imagenet"] | None = None


@dataclass(frozen=True)
class TrainingHints:
    """What a genotype says of its own training; `None` leaves a setting as it is."""

    learning_rate: float | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class ArchGraph:
    """All that a predictor may know of an architecture: a labelled directed acyclic graph.

    Vertex 0 is the input, the last vertex the output; `adjacency_VV[i, j]` is 1 for i -> j, i < j.
    """

    labels: tuple[str, ...]
    adjacency_VV: np.ndarray  # uint8


class SearchSpace(Protocol):
    """A set of architectures. `rng` is always an argument; nothing draws globally.

    What not every space has is declared here with the value that says so.
    """

    name: str
    cardinalities: tuple[int, ...]  # of the integer genes
    operations: tuple[str, ...] = ()  # the columns of mixing weights, where there are any
    channels: int = 1  # of the networks of a search, where they have a size to choose
    cells: int = 1
    differentiable: ClassVar[bool] = False  # whether it is a `DifferentiableSpace`
    inherits: bool = False  # whether it is one that offers `inherited`
    counts_by_formula: ClassVar[bool] = False  # whether `params_and_flops` builds no network
    takes: ClassVar[tuple[str, ...]] = ("images",)  # the kinds of inputs, of `protocols.data.KINDS`
    left_aside: ClassVar[tuple[str, ...]] = ()  # settings of `retrain` that its networks ignore

    def sample(self, rng: np.random.Generator) -> Genotype: ...

    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless the genotype belongs to this space."""

    def canonical(self, genotype: Genotype) -> str:
        """Return a key that is equal for genotypes that compute the same function."""

    def pruned(self, genotype: Genotype) -> Genotype:
        """Drop the parts of a genotype that do not change its network."""

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change one gene: the result is valid, and differs from the parent."""

    def crossover(
        self, first: Genotype, second: Genotype, rng: np.random.Generator
    ) -> Genotype: ...

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """List all genotypes that differ in one gene."""

    def edge_moves(self, genotype: Genotype) -> list[Genotype]:
        """List all genotypes with one edge in another place, where edges are genes."""
        return []

    def largest(self) -> Genotype | None:
        """Return the genotype of the largest network; `None` where that takes counting."""
        return None

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the integer genes, each in [0, cardinality)."""

    def decode(self, genes: Sequence[int]) -> Genotype: ...

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        """Return the genotype at a point of the unit cube, one coordinate per gene."""

    def to_vector(self, genotype: Genotype) -> np.ndarray: ...

    def size(self) -> int:
        """Count the genotypes, isomorphic ones apart."""

    def enumerate(self) -> Iterator[Genotype]:
        """Yield all genotypes; raise `UsageError` where there are too many."""

    def graph(self, genotype: Genotype) -> ArchGraph: ...

    def training_hints(self, genotype: Genotype) -> TrainingHints:
        """Return the settings of a training that are part of the genotype; here none is."""
        return TrainingHints()

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network: ...

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the trainable parameters of its network, and the multiply-adds of one input."""


class Network(Protocol):
    """The network of one genotype, trained from scratch. Every network is an `nn.Module`."""

    drop_path: float  # the current probability, set by the trainer before each epoch

    def __call__(self, images_BCHW: Tensor) -> Tensor: ...

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits_BK, and the auxiliary head's logits_BK where there is one."""


class Supernet(Protocol):
    """All architectures of a space in one network with shared weights. It stores no alphas."""

    skip_dropout: float  # see `DifferentiableSpace.supernet`; it may be changed between calls

    def __call__(
        self, images_BCHW: Tensor, mixture: Mixture, *, statistics: Statistics = "update"
    ) -> Tensor:
        """Compute logits_BK under a mixture."""

    def each(
        self, images_BCHW: Tensor, mixtures: Iterable[Mixture], statistics: Statistics
    ) -> Iterator[Tensor]:
        """Yield what a call with each plain mixture returns (not with "update").

        What they have in common need be computed only once.
        """


class DifferentiableSpace(SearchSpace, Protocol):
    """A space that can be relaxed: its edges mix operations by continuous weights."""

    differentiable: ClassVar[bool] = True
    alpha_shapes: Mapping[str, tuple[int, int]]  # cell type -> (E, O)
    edges: tuple[tuple[int, int], ...]  # (source, target) of the rows of each cell type
    edges_per_node: int | None  # how many that enter a node a genotype keeps; `None` is all

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
        """Build a fresh supernet; `None` takes the space's own setting.

        Operations that are not `active` are not built, so that a space can shrink during the
        search.
        """

    def inherited(self, genotype: Genotype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the state of the network of a genotype by the weights of a supernet.

        Both have the space's own size. The network then computes what the supernet does for this
        genotype alone, under the same statistics of batch norm.
        """
        raise NotImplementedError

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        """Derive an architecture from mixing weights, as the paper of the space does.

        `gates` (cell type -> gates_E) weigh the edges against each other, as in PC-DARTS.
        """

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return the mixing weights at which the supernet computes just this genotype.

        An edge that the genotype leaves out has a row of zeros; `discretise` is the inverse.
        """

    def one_hot_gates(self, genotype: Genotype) -> dict[str, Tensor]:
        """Map each cell type to gates_E: 0 for the edges that the genotype leaves out, else 1."""


def as_module(network: Network | Supernet) -> nn.Module:
    """Return the same object, typed as the `nn.Module` that every network and supernet is."""
    return network  # type: ignore[return-value]

"""Define spaces of the cells of NAS-Bench-201: four nodes, an operation on each of six edges.

A node adds up its edges. The macro skeleton around the cells is fixed: a stem and three stages.
Which operations there are, and what they read, is a subclass's business. No torch at import time.
Shapes: E = 6 edges, O operations.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nasrun.errors import UsageError, require
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import EDGES, NODES, NUM_STAGES
from nasrun.spaces.fixed_edges import FixedEdgesSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize, Supernet


class StagedSpace(FixedEdgesSpace):
    """Cells of NAS-Bench-201. A gene is the operation of one edge, in the order of `EDGES`.

    A subclass has `name` and `operations`, and builds what is asked for in known sizes.

    Args:
        channels: width of the first stage; it doubles twice.
        cells: N, the number of cells per stage.
        partial_channels: k of PC-DARTS in the supernet; 1 is off, as in the benchmark.
    """

    counts_by_formula = True
    nodes = NODES
    edges = EDGES

    def __init__(self, channels: int, cells: int, partial_channels: int) -> None:
        super().__init__()
        self.channels, self.cells, self.partial_channels = channels, cells, partial_channels

    def canonical(self, genotype: Genotype) -> str:
        """Write the cell as a formula of its input `0` and zero `#`, without skips and `none`.

        Zeros stay terms of a sum and sums are not merged, as in the isomorphism check of the
        benchmark: 6,466 classes. (A full simplification would find 4,930.)
        """
        self.validate(genotype)
        states = ["0"]
        for target in range(1, len(NODES)):
            edges = genotype.cell("cell").edges_into(target)
            terms = (_term(edge.operation, states[edge.source]) for edge in edges)
            states.append("+".join(sorted(terms)))
        return states[-1]

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
        channels = self.channels if channels is None else channels
        cells = self.cells if cells is None else cells
        partial_channels = self.partial_channels if partial_channels is None else partial_channels
        _check_size(channels, partial_channels)
        return self.build_supernet(shape, channels, cells, partial_channels, active, skip_dropout)

    @abstractmethod
    def build_supernet(
        self,
        shape: TaskShape,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> Supernet:
        """Build a supernet of a size that fits."""

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network of the skeleton; it has no auxiliary head, whatever `size` asks for."""
        if size.stem == "imagenet":
            raise UsageError(
                f"retrain.stem={size.stem} is not possible: space={self.name} has one stem, "
                "type retrain.stem=cifar"
            )
        self.validate(genotype)
        channels = self.channels if size.channels is None else size.channels
        cells = self.cells if size.cells is None else size.cells
        return self.build_network(genotype, shape, channels, cells)

    @abstractmethod
    def build_network(
        self, genotype: Genotype, shape: TaskShape, channels: int, cells: int
    ) -> Network:
        """Build the network of a valid genotype."""

    def largest(self) -> Genotype:
        """Return the cell with the widest kernel on each edge."""
        weights = [self.kernels_and_norms(name, self.channels)[0] for name in self.operations]
        return self.decode([weights.index(max(weights))] * len(self.edges))

    @abstractmethod
    def kernels_and_norms(self, operation: str, channels: int) -> tuple[int, int]:
        """Return how many weights the kernels of an operation have, and how many batch norms."""

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the parameters and multiply-adds of one input without building the network.

        Both are sums over the edges, as in the benchmark's table: every convolution counts, also
        one that no signal reaches or leaves. Batch norm, pooling and sums count no multiply-adds;
        the classifier's bias counts as one per class.
        """
        channels = self.channels if size.channels is None else size.channels
        cells = self.cells if size.cells is None else size.cells
        self.validate(genotype)
        names = [edge.operation for edge in genotype.cell("cell").edges]
        lengths, window = shape.size, 3 ** len(shape.size)  # of the skeleton's kernels
        parameters = (
            shape.channels * channels * window + 2 * channels
        )  # the stem and its batch norm
        flops = shape.channels * channels * window * math.prod(lengths)
        for stage in range(NUM_STAGES):
            if stage > 0:  # residual block: two windows, a 1x1 shortcut, two batch norms
                channels, lengths = 2 * channels, tuple(-(-length // 2) for length in lengths)
                kernels = window * (channels // 2 + channels) * channels
                kernels += (channels // 2) * channels
                parameters += kernels + 4 * channels
                flops += kernels * math.prod(lengths)
            counts = [self.kernels_and_norms(name, channels) for name in names]
            kernels = cells * sum(weights for weights, _ in counts)
            parameters += kernels + cells * sum(norms for _, norms in counts) * 2 * channels
            flops += kernels * math.prod(lengths)
        classifier = (channels + 1) * shape.num_classes
        return parameters + 2 * channels + classifier, flops + classifier


def _term(operation: str, state: str) -> str:
    if operation == "none" or state == "#":
        return "#"
    return state if operation == "skip_connect" else f"({state})@{operation}"


def _check_size(channels: int, partial_channels: int) -> None:
    allowed = f"a divisor of space.channels={channels} (1 is off)"
    require(channels % partial_channels == 0, "space.partial_channels", partial_channels, allowed)

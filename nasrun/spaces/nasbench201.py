"""Define the space of NAS-Bench-201: one cell, 15,625 architectures.

Source: Dong, Yang, ICLR 2020, arXiv 2001.00326.

A cell has four nodes; each of its six edges carries one of five operations, and a node adds up
its edges. The macro skeleton around the cells is fixed. No torch at import time.
Shapes: E = 6 edges, O = 5 operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from nasrun.errors import UsageError, require
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import EDGES, KERNEL_SIZES, NODES, NUM_STAGES, OPERATIONS
from nasrun.protocols.settings import Cells, Channels, Divides
from nasrun.spaces.fixed_edges import FixedEdgesSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize, Supernet


class NasBench201(FixedEdgesSpace):
    """The cells of NAS-Bench-201. A gene is the operation of one edge, in the order of `EDGES`.

    Args:
        channels: width of the first stage; it doubles twice.
        cells: N, the number of cells per stage.
        partial_channels: k of PC-DARTS in the supernet; 1 is off, as in the benchmark.
    """

    name = "nasbench201"
    nodes = NODES
    edges = EDGES
    operations: tuple[str, ...] = OPERATIONS

    def __init__(
        self,
        *,
        channels: Channels,
        cells: Cells,
        partial_channels: Annotated[Channels, Divides("channels")],
    ) -> None:
        super().__init__()
        self.channels, self.cells, self.partial_channels = channels, cells, partial_channels
        # with partial channels the operations of a supernet are narrower than those of a network
        self.inherits = partial_channels == 1

    def inherited(self, genotype: Genotype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from nasrun.networks.nasbench201.supernet import inherited

        self.validate(genotype)
        return inherited(genotype, weights)

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
        from nasrun.networks.nasbench201.supernet import NasBench201Supernet

        channels = self.channels if channels is None else channels
        cells = self.cells if cells is None else cells
        partial_channels = self.partial_channels if partial_channels is None else partial_channels
        _check_size(channels, partial_channels)
        return NasBench201Supernet(
            shape,
            channels=channels,
            cells=cells,
            partial_channels=partial_channels,
            active=active,
            skip_dropout=skip_dropout,
        )

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network of the benchmark.

        It has no auxiliary head, whatever `size` asks for.
        """
        from nasrun.networks.nasbench201.derived import NasBench201Network

        if size.stem == "imagenet":
            raise UsageError(
                f"retrain.stem={size.stem} is not possible: space=nasbench201 has one stem, "
                "type retrain.stem=cifar"
            )
        self.validate(genotype)
        channels = self.channels if size.channels is None else size.channels
        cells = self.cells if size.cells is None else size.cells
        return NasBench201Network(genotype, shape, channels=channels, cells=cells)

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
        names = [OPERATIONS[gene] for gene in self.encode(genotype)]
        kernel_sizes = [KERNEL_SIZES[name] for name in names if name in KERNEL_SIZES]
        taps, norms = sum(size**2 for size in kernel_sizes), len(kernel_sizes)

        height, width = shape.size
        parameters = shape.channels * channels * 9 + 2 * channels  # the stem and its batch norm
        flops = shape.channels * channels * 9 * height * width
        for stage in range(NUM_STAGES):
            if stage > 0:  # residual block: 3x3, 3x3 and a 1x1 shortcut, two batch norms
                channels, height, width = 2 * channels, -(-height // 2), -(-width // 2)
                kernels = 9 * (channels // 2 + channels) * channels + (channels // 2) * channels
                parameters += kernels + 4 * channels
                flops += kernels * height * width
            parameters += cells * (taps * channels**2 + norms * 2 * channels)
            flops += cells * taps * channels**2 * height * width
        classifier = (channels + 1) * shape.num_classes
        return parameters + 2 * channels + classifier, flops + classifier


def _term(operation: str, state: str) -> str:
    if operation == "none" or state == "#":
        return "#"
    return state if operation == "skip_connect" else f"({state})@{operation}"


def _check_size(channels: int, partial_channels: int) -> None:
    allowed = f"a divisor of space.channels={channels} (1 is off)"
    require(channels % partial_channels == 0, "space.partial_channels", partial_channels, allowed)

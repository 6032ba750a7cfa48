"""Define the space of NAS-Bench-201: one cell, 15,625 architectures.

Source: Dong, Yang, ICLR 2020, arXiv 2001.00326.

Its cells are described in `nasrun.spaces.staged`. No torch at import time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import KERNEL_SIZES, NUM_STAGES, OPERATIONS
from nasrun.protocols.settings import Cells, Channels, Divides
from nasrun.spaces.staged import StagedSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize, Supernet


class NasBench201(StagedSpace):
    """The cells of NAS-Bench-201, on images. `StagedSpace` says what the settings are."""

    name = "nasbench201"
    counts_by_formula = True
    operations: tuple[str, ...] = OPERATIONS

    def __init__(
        self,
        *,
        channels: Channels,
        cells: Cells,
        partial_channels: Annotated[Channels, Divides("channels")],
    ) -> None:
        super().__init__(channels, cells, partial_channels)
        # with partial channels the operations of a supernet are narrower than those of a network
        self.inherits = partial_channels == 1

    def inherited(self, genotype: Genotype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from nasrun.networks.nasbench201.supernet import inherited

        self.validate(genotype)
        return inherited(genotype, weights)

    def build_supernet(
        self,
        shape: TaskShape,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> Supernet:
        from nasrun.networks.nasbench201.supernet import NasBench201Supernet

        return NasBench201Supernet(
            shape,
            channels=channels,
            cells=cells,
            partial_channels=partial_channels,
            active=active,
            skip_dropout=skip_dropout,
        )

    def build_network(
        self, genotype: Genotype, shape: TaskShape, channels: int, cells: int
    ) -> Network:
        """Build the network of the benchmark."""
        from nasrun.networks.nasbench201.derived import NasBench201Network

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

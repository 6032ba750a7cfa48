"""Define the space of NAS-Bench-201: one cell, 15,625 architectures.

Source: Dong, Yang, ICLR 2020, arXiv 2001.00326.

Its cells are described in `nasrun.spaces.staged`. No torch at import time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import KERNEL_SIZES, OPERATIONS
from nasrun.protocols.settings import Cells, Channels, Divides
from nasrun.spaces.staged import StagedSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, Supernet


class NasBench201(StagedSpace):
    """The cells of NAS-Bench-201, on images. `StagedSpace` says what the settings are."""

    name = "nasbench201"
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

    def kernels_and_norms(self, operation: str, channels: int) -> tuple[int, int]:
        size = KERNEL_SIZES.get(operation, 0)
        return size**2 * channels**2, int(operation in KERNEL_SIZES)

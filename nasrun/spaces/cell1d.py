"""Define a small space of cells on signals, in the shape of NAS-Bench-201.

The cells are described in `nasrun.spaces.staged`, the skeleton is that of NAS-Bench-201 with layers
for signals. An operation's number is the length of its window. All nine operations give 531,441
cells. No torch at import time.

Source: the shape of Dong, Yang, ICLR 2020, arXiv 2001.00326. Separable and dilated convolutions are
those of DARTS (Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055).

Deviations:
- Pools have a batch norm in the supernet, as in DARTS; the supernets of NAS-Bench-201 have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from nasrun.errors import UsageError, closest, require
from nasrun.genotypes.cell1d import KNOWN_OPERATIONS
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import Cells, Channels, Divides
from nasrun.spaces.staged import StagedSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, Supernet


class Cell1d(StagedSpace):
    """Cells on signals. `StagedSpace` says what the other settings are.

    Args:
        operations: two names or more, from `KNOWN_OPERATIONS`.

    Raises:
        UsageError: an unknown operation, one named twice, or fewer than two.
    """

    name = "cell1d"
    takes = ("signals",)
    known_operations: tuple[str, ...] = KNOWN_OPERATIONS

    def __init__(
        self,
        *,
        channels: Channels,
        cells: Cells,
        partial_channels: Annotated[Channels, Divides("channels")],
        operations: list[str],
    ) -> None:
        for operation in operations:
            if operation not in KNOWN_OPERATIONS:
                hint = closest(operation, KNOWN_OPERATIONS)
                raise UsageError(f"space.operations has the unknown name '{operation}'; {hint}")
        distinct = len(set(operations)) == len(operations) >= 2
        require(distinct, "space.operations", operations, "two different names or more")
        self.operations = tuple(operations)
        super().__init__(channels, cells, partial_channels)

    def build_supernet(
        self,
        shape: TaskShape,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> Supernet:
        from nasrun.networks.cell1d.supernet import Cell1dSupernet

        return Cell1dSupernet(
            shape,
            self.operations,
            channels=channels,
            cells=cells,
            partial_channels=partial_channels,
            active=active,
            skip_dropout=skip_dropout,
        )

    def build_network(
        self, genotype: Genotype, shape: TaskShape, channels: int, cells: int
    ) -> Network:
        from nasrun.networks.cell1d.derived import StagedNetwork

        return StagedNetwork(genotype, shape, channels=channels, cells=cells)

    def kernels_and_norms(self, operation: str, channels: int) -> tuple[int, int]:
        kind, _, length = operation.rpartition("_")
        if not kind.endswith("conv"):
            return 0, 0
        if kind == "conv":
            return channels**2 * int(length), 1
        repeats = 2 if kind == "sep_conv" else 1
        return repeats * (channels * int(length) + channels**2), repeats

"""Define a space of cells on signals in the shape of DARTS, for strategies on a supernet.

The cells are described in `nasrun.spaces.two_inputs`, the skeleton is that of DARTS with layers for
signals. An operation's number is the length of its window. No torch at import time.

Source: the shape of Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. Plain convolutions are ReLU,
convolution and batch norm, as in NAS-Bench-201 (Dong, Yang, ICLR 2020, arXiv 2001.00326).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from nasrun.genotypes.cell1d import KNOWN_OPERATIONS
from nasrun.genotypes.genotype import Genotype
from nasrun.spaces.two_inputs import TwoInputsSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, Supernet


class Cell1dDarts(TwoInputsSpace):
    """The DARTS cells, on signals. `TwoInputsSpace` says what the settings are."""

    name = "cell1d_darts"
    takes = ("signals",)
    known_operations: ClassVar[tuple[str, ...]] = KNOWN_OPERATIONS

    def build_supernet(
        self,
        shape: TaskShape,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> Supernet:
        from nasrun.networks.blocks.layers import SIGNALS
        from nasrun.networks.darts.supernet import DartsSupernet

        return DartsSupernet(
            shape,
            self.operations,
            channels=channels,
            cells=cells,
            partial_channels=partial_channels,
            stem=self.stem,
            active=active,
            skip_dropout=skip_dropout,
            layers=SIGNALS,
        )

    def build_network(
        self,
        genotype: Genotype,
        shape: TaskShape,
        channels: int,
        cells: int,
        auxiliary: bool,
        stem: Literal["cifar", "imagenet"],
    ) -> Network:
        from nasrun.networks.blocks.layers import SIGNALS
        from nasrun.networks.darts.derived import DartsNetwork

        return DartsNetwork(
            genotype,
            shape,
            channels=channels,
            cells=cells,
            auxiliary=auxiliary,
            stem=stem,
            layers=SIGNALS,
        )

"""Define the space of DARTS: Differentiable Architecture Search.

Source: Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. Its cells are described in
`nasrun.spaces.two_inputs`. No torch at import time.

Deviations:
- The default operations are the seven of EG-NAS's public code, by which its cells were found;
  `space.operations` takes all eight of DARTS, `none` included.
- Pools and factorised reductions round up, so that images of any size work; DARTS has even maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from nasrun.genotypes.darts import KNOWN_OPERATIONS
from nasrun.genotypes.genotype import Genotype
from nasrun.spaces.two_inputs import TwoInputsSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, Supernet


class Darts(TwoInputsSpace):
    """The DARTS cells, on images. `TwoInputsSpace` says what the settings are."""

    name = "darts"
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
        from nasrun.networks.blocks.layers import IMAGES
        from nasrun.networks.darts.derived import DartsNetwork

        return DartsNetwork(
            genotype,
            shape,
            channels=channels,
            cells=cells,
            auxiliary=auxiliary,
            stem=stem,
            layers=IMAGES,
        )

"""Share what the supernets in the skeleton of NAS-Bench-201 have, on images and on signals.

Shapes: B batch, C channels, H height, W width, E edges, O operations, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from nasrun.compute.transfers import upload
from nasrun.genotypes.nasbench201 import EDGES
from nasrun.networks.blocks.batch_norm import BatchNorm, fold
from nasrun.networks.blocks.edge_mixing import PartialChannels
from nasrun.networks.blocks.layers import Layers
from nasrun.networks.blocks.stacked import Convolution, Kernels, compose
from nasrun.networks.nasbench201.derived import Skeleton
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, Statistics


class MixingCell(Protocol):
    """A cell whose edges mix their operations; it is an `nn.Module`."""

    partial: PartialChannels


class StagedSupernet(Skeleton):
    """A `nasrun.protocols.space.Supernet` with the cell type "cell".

    A subclass lays a mixture out for its cells.

    Args:
        channels, cells: width of the first stage, and N cells per stage.
        active: "cell" -> active_EO bool: the operations that are built (default: all).
        skip_dropout: probability that an element of a skip's output is dropped, in "update" calls;
            it may be changed between calls.
        make_cell: from its channels and built_EO, as lists.
    """

    def __init__(
        self,
        shape: TaskShape,
        operations: Sequence[str],
        *,
        channels: int,
        cells: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
        make_cell: Callable[[int, list[list[bool]]], nn.Module],
        layers: Layers,
        space: str,
    ) -> None:
        # On the CPU even where the default device is another (`meta`, to measure a network): what
        # is built is read as Python lists.
        everything = torch.ones(len(EDGES), len(operations), dtype=torch.bool, device="cpu")
        built_EO = everything if active is None else active["cell"].bool().cpu()
        listed = built_EO.tolist()
        super().__init__(
            shape,
            channels,
            cells,
            lambda width: make_cell(width, listed),
            layers=layers,
            space=space,
        )
        self.operations, self.built_EO = tuple(operations), built_EO
        self.skip_dropout = skip_dropout

    @abstractmethod
    def norm_of(self) -> dict[Convolution, BatchNorm]:
        """Map each convolution of the cells to its batch norm."""

    @abstractmethod
    def mixing(
        self,
        weights_EO: Tensor,
        gates_E: Tensor | None,
        partial: PartialChannels,
        computed_EO: list[list[bool]],
        kernels: Kernels,
        statistics: Statistics,
    ) -> object:
        """Lay out weights, already times the gates, for the cells of one width."""

    def forward(
        self, images_BCHW: Tensor, mixture: Mixture, *, statistics: Statistics = "update"
    ) -> Tensor:
        """Compute logits_BK; see `nasrun.protocols.space.Supernet`."""
        return self._logits(images_BCHW, mixture, self._kernels(statistics), statistics)

    def each(
        self, images_BCHW: Tensor, mixtures: Iterable[Mixture], statistics: Statistics = "batch"
    ) -> Iterator[Tensor]:
        """Yield logits_BK of each mixture; only the kernels are common to them."""
        kernels = self._kernels(statistics)
        for mixture in mixtures:
            yield self._logits(images_BCHW, mixture, kernels, statistics)

    def _kernels(self, statistics: Statistics) -> Kernels:
        """Compose the kernels of a pass, with running statistics folded in where these are used."""
        norms = [part for part in self.stages.modules() if isinstance(part, BatchNorm)]
        return compose(self.norm_of(), fold(norms) if statistics == "running" else {})

    def _logits(
        self, images_BCHW: Tensor, mixture: Mixture, kernels: Kernels, statistics: Statistics
    ) -> Tensor:
        weights_EO = mixture.weights["cell"]
        assert weights_EO.shape == (len(EDGES), len(self.operations))
        gates_E = None if mixture.gates is None else mixture.gates["cell"]
        if gates_E is not None:
            # A gate scales its whole edge: the mixture here, the bypass in the paths.
            weights_EO = weights_EO * gates_E[:, None]
        computed_EO = self.built_EO
        if mixture.active is not None:
            computed_EO = computed_EO & mixture.active["cell"].bool().cpu()
        if not computed_EO.all():
            # A pool or an identity is computed once for all edges, so that an edge which has none
            # must give it the weight 0.
            weights_EO = weights_EO.where(upload(computed_EO, weights_EO.device), 0)
        mixings = {}
        for stage in self.stages:
            # All cells of a stage have one width, and hence one mixing.
            partial = cast(MixingCell, cast(nn.ModuleList, stage)[0]).partial
            mixings[partial.mixed] = self.mixing(
                weights_EO, gates_E, partial, computed_EO.tolist(), kernels, statistics
            )
        # `as_rows` and `as_images` are then views, all through the network.
        images_BCHW = self.layers.maps(images_BCHW)
        images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        return self.logits(images_BCHW, statistics, mixings)

"""Build the supernet of `space=cell1d`: all its cells in one network with shared weights.

The skeleton is that of NAS-Bench-201, the edges that leave a state are those of the supernet of
DARTS. As in both papers only the skeleton has affine batch norm; pools have one without weights, as
in DARTS. A signal is an image of one row (`nasrun.networks.blocks.layers`).

Shapes: B batch, C channels, H height, W width, M mixed channels (C / partial_channels), E edges, O
operations, K classes, R = B*H*W rows, N nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nasrun.genotypes.nasbench201 import EDGES, NODES
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.edge_mixing import PartialChannels, state_mixings
from nasrun.networks.blocks.layers import SIGNALS
from nasrun.networks.blocks.stacked import Convolution, Kernels, as_images, as_rows
from nasrun.networks.darts.edges import CellMixing, Convolutions, StateEdges
from nasrun.networks.nasbench201.shared import StagedSupernet
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Statistics

NUM_NODES = len(NODES) - 1  # that are computed; the first one is the input
EDGES_OF_STATE = [
    [edge for edge, (source, _) in enumerate(EDGES) if source == state]
    for state in range(NUM_NODES)
]


class MixedCell(nn.Module):
    """A cell of one input and three nodes, whose edges mix their operations."""

    def __init__(
        self,
        channels: int,
        partial_channels: int,
        operations: Sequence[str],
        built_EO: list[list[bool]],
    ) -> None:
        super().__init__()
        self.partial = PartialChannels(
            channels, partial_channels, num_inputs=1, num_nodes=NUM_NODES
        )
        self.states = nn.ModuleList(
            StateEdges(edges, operations, built_EO, self.partial.mixed, 1, SIGNALS)
            for edges in EDGES_OF_STATE
        )

    def forward(
        self, images_BCHW: Tensor, statistics: Statistics, mixings: Mapping[int, CellMixing]
    ) -> Tensor:
        """Return the last node."""
        partial, mixing = self.partial, mixings[self.partial.mixed]
        state_BMHW, bypass_BCHW = partial.split(images_BCHW, stride=1)
        known_RQ = as_rows(bypass_BCHW)
        first, *others = cast(Iterable[StateEdges], self.states)
        total = first(state_BMHW, mixing.states[0], mixing)  # rows, the sums of the nodes to come
        for node, edges in enumerate(others):
            # The first columns of `total` are a node that is complete now, and the next state.
            mixture, total = torch.split(
                total, [partial.mixed, total.shape[1] - partial.mixed], dim=1
            )
            known_RQ = torch.cat([known_RQ, mixture], dim=1)
            state_RM = partial.state(node, known_RQ, mixing.paths)
            state_BMHW = as_images(state_RM, images_BCHW)
            total = total + edges(state_BMHW, mixing.states[node + 1], mixing)
        known_RQ = torch.cat([known_RQ, total], dim=1)
        return as_images(partial.last_node(known_RQ, mixing.paths), images_BCHW)


class Cell1dSupernet(StagedSupernet):
    """The supernet of cells on signals; see `StagedSupernet`.

    Args:
        partial_channels: k; a divisor of `channels`.
    """

    def __init__(
        self,
        shape: TaskShape,
        operations: Sequence[str],
        *,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> None:
        super().__init__(
            shape,
            operations,
            channels=channels,
            cells=cells,
            active=active,
            skip_dropout=skip_dropout,
            make_cell=lambda width, built_EO: MixedCell(
                width, partial_channels, operations, built_EO
            ),
            layers=SIGNALS,
            space="cell1d",
        )

    def norm_of(self) -> dict[Convolution, BatchNorm]:
        stacks = [part for part in self.stages.modules() if isinstance(part, Convolutions)]
        return dict(pair for stack in stacks for pair in stack.pairs())

    def mixing(
        self,
        weights_EO: Tensor,
        gates_E: Tensor | None,
        partial: PartialChannels,
        computed_EO: list[list[bool]],
        kernels: Kernels,
        statistics: Statistics,
    ) -> CellMixing:
        return CellMixing(
            state_mixings(weights_EO, self.operations, partial.mixed, EDGES_OF_STATE),
            gates_E,
            partial.paths(gates_E),
            computed_EO,
            kernels,
            statistics,
            self.skip_dropout,
        )

"""Build the supernet of `space=cell1d`: all its cells in one network with shared weights.

The skeleton is that of NAS-Bench-201, the edges that leave a state are those of the supernet of
DARTS. As in both papers only the skeleton has affine batch norm; pools have one without weights, as
in DARTS. A signal is an image of one row (`nasrun.networks.blocks.layers`).

Shapes: B batch, C channels, H height, W width, M mixed channels (C / partial_channels), E edges, O
operations, K classes, R = B*H*W rows, N nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nasrun.genotypes.nasbench201 import EDGES, NODES
from nasrun.networks.blocks.batch_norm import BatchNorm, fold
from nasrun.networks.blocks.edge_mixing import PartialChannels, state_mixings
from nasrun.networks.blocks.layers import SIGNALS
from nasrun.networks.blocks.stacked import Convolution, Kernels, as_images, as_rows, compose
from nasrun.networks.darts.edges import CellMixing, Convolutions, StateEdges
from nasrun.networks.nasbench201.derived import Skeleton
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, Statistics

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


class StagedSupernet(Skeleton):
    """A `nasrun.protocols.space.Supernet` with the cell type "cell".

    Args:
        channels, cells: width of the first stage, and cells per stage.
        partial_channels: k; a divisor of `channels`.
        active: "cell" -> active_EO bool: the operations that are built (default: all).
        skip_dropout: probability that an element of a skip's output is dropped, in "update" calls;
            it may be changed between calls.
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
        # on the CPU whatever the default device (`meta`, to measure a network): read as lists
        everything = torch.ones(len(EDGES), len(operations), dtype=torch.bool, device="cpu")
        built_EO = everything if active is None else active["cell"].bool().cpu()
        listed = built_EO.tolist()
        super().__init__(
            shape,
            channels,
            cells,
            lambda width: MixedCell(width, partial_channels, operations, listed),
            layers=SIGNALS,
            space="cell1d",
        )
        self.operations, self.built_EO = tuple(operations), built_EO
        self.skip_dropout = skip_dropout
        # Every pass composes all kernels and folds all norms at once.
        self._norm_of: dict[Convolution, BatchNorm] = {}
        self._norms: list[BatchNorm] = []
        for part in self.stages.modules():
            if isinstance(part, Convolutions):
                self._norm_of |= part.pairs()
            elif isinstance(part, BatchNorm):
                self._norms.append(part)

    def forward(
        self, signals_BCL: Tensor, mixture: Mixture, *, statistics: Statistics = "update"
    ) -> Tensor:
        """Compute logits_BK; see `nasrun.protocols.space.Supernet`."""
        return self._logits(signals_BCL, mixture, self._kernels(statistics), statistics)

    def each(
        self, signals_BCL: Tensor, mixtures: Iterable[Mixture], statistics: Statistics = "batch"
    ) -> Iterator[Tensor]:
        """Yield logits_BK of each mixture; only the kernels are common to them."""
        kernels = self._kernels(statistics)
        for mixture in mixtures:
            yield self._logits(signals_BCL, mixture, kernels, statistics)

    def _kernels(self, statistics: Statistics) -> Kernels:
        """Compose the kernels of a pass, with running statistics folded in where these are used."""
        return compose(self._norm_of, fold(self._norms) if statistics == "running" else {})

    def _logits(
        self, signals_BCL: Tensor, mixture: Mixture, kernels: Kernels, statistics: Statistics
    ) -> Tensor:
        weights_EO = mixture.weights["cell"]
        assert weights_EO.shape == (len(EDGES), len(self.operations))
        gates_E = None if mixture.gates is None else mixture.gates["cell"]
        if gates_E is not None:
            # A gate scales its whole edge: the mixture here, the bypass in the paths below.
            weights_EO = weights_EO * gates_E[:, None]
        computed_EO = self.built_EO
        if mixture.active is not None:
            computed_EO = computed_EO & mixture.active["cell"].bool().cpu()
        if not computed_EO.all():
            # A pool or an identity is computed once for all edges, so that an edge which has none
            # must give it the weight 0.
            weights_EO = weights_EO.where(computed_EO.to(weights_EO.device), 0)
        mixings = {}
        for stage in self.stages:
            # All cells of a stage have one width, and hence one mixing.
            partial = cast(MixedCell, cast(nn.ModuleList, stage)[0]).partial
            mixings[partial.mixed] = CellMixing(
                state_mixings(weights_EO, self.operations, partial.mixed, EDGES_OF_STATE),
                gates_E,
                partial.paths(gates_E),
                computed_EO.tolist(),
                kernels,
                statistics,
                self.skip_dropout,
            )
        return self.logits(signals_BCL, statistics, mixings)

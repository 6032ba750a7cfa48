"""Build the NAS-Bench-201 supernet: all 15,625 cells in one network with shared weights.

Edges that leave the same node read the same input, so their pool is computed once and their
convolutions are stacked in one call; the mixing weight of a convolution is the scale of its batch
norm. As in the benchmark's search networks only the skeleton has affine batch norm, and pooling
has none. Shapes: B batch, C channels, M mixed channels (C / partial_channels), H height, W width,
E edges, O operations (5), N edges that leave a node (or N = E*M output channels of a stack),
R = B*H*W rows, Q columns of all that the nodes consist of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import constant
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import EDGES, KERNEL_SIZES, NODES, OPERATIONS
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.dropout import Dropout
from nasrun.networks.blocks.edge_mixing import PartialChannels, StateMixing, state_mixings
from nasrun.networks.blocks.layers import IMAGES
from nasrun.networks.blocks.stacked import (
    AveragePool,
    Convolution,
    Dense,
    Kernels,
    as_images,
    as_rows,
    convolve_and_norm,
)
from nasrun.networks.nasbench201.shared import StagedSupernet
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Statistics

NUM_NODES = len(NODES)  # the first is the input
PLAIN = ("avg_pool_3x3", "skip_connect")


def edges_from(source: int) -> list[int]:
    return [edge for edge, (start, _) in enumerate(EDGES) if start == source]


EDGES_FROM = [edges_from(source) for source in range(NUM_NODES - 1)]


@dataclass(frozen=True)
class CellMixing:
    """How one forward pass mixes the operations of a cell."""

    sources: list[StateMixing]
    paths: Tensor  # the matrix of `PartialChannels.paths`
    computed_EO: list[list[bool]]
    kernels: Kernels
    statistics: Statistics
    skip_dropout: float

    def computed(self, source: int, operation: str) -> list[int]:
        """List the edges that leave `source` and compute `operation`."""
        column = OPERATIONS.index(operation)
        return [edge for edge in EDGES_FROM[source] if self.computed_EO[edge][column]]


class StackedConvolution(Dense):
    """Convolution and batch norm of some edges that leave the same node, in one call each."""

    def __init__(self, edges: list[int], channels: int, kernel_size: int) -> None:
        super().__init__(len(edges), channels, kernel_size)
        self.edges = edges
        self.norm = BatchNorm(channels, num_edges=len(edges))


class MixedCell(nn.Module):
    """A cell whose edges mix their operations."""

    def __init__(self, channels: int, partial_channels: int, built_EO: list[list[bool]]) -> None:
        super().__init__()
        self.partial = PartialChannels(
            channels, partial_channels, num_inputs=1, num_nodes=NUM_NODES - 1
        )
        self.average_pool = AveragePool()
        self.dropout = Dropout()
        self.convolutions = nn.ModuleDict()
        for source in range(NUM_NODES - 1):
            for operation, kernel_size in KERNEL_SIZES.items():
                column = OPERATIONS.index(operation)
                edges = [edge for edge in EDGES_FROM[source] if built_EO[edge][column]]
                if edges:
                    stack = StackedConvolution(edges, self.partial.mixed, kernel_size)
                    self.convolutions[f"{operation}_from_{source}"] = stack

    def forward(
        self, images_BCHW: Tensor, statistics: Statistics, mixings: Mapping[int, CellMixing]
    ) -> Tensor:
        partial, mixing = self.partial, mixings[self.partial.mixed]
        state_BMHW, bypass_BCHW = partial.split(images_BCHW, stride=1)
        known_RQ = as_rows(bypass_BCHW)
        total = self._sent(state_BMHW, 0, mixing)  # rows, the sums of the nodes to come
        for source in range(1, NUM_NODES - 1):
            # The columns of `total` are the nodes not yet complete; the first of them is complete
            # now, and is the next source.
            mixture, total = torch.split(
                total, [partial.mixed, total.shape[1] - partial.mixed], dim=1
            )
            known_RQ = torch.cat([known_RQ, mixture], dim=1)
            state_RM = partial.state(source - 1, known_RQ, mixing.paths)
            total = total + self._sent(as_images(state_RM, images_BCHW), source, mixing)
        known_RQ = torch.cat([known_RQ, total], dim=1)
        # only the last node leaves the cell
        return as_images(partial.last_node(known_RQ, mixing.paths), images_BCHW)

    def _sent(self, state_BMHW: Tensor, source: int, mixing: CellMixing) -> Tensor:
        """Return what the N nodes that `source` feeds receive from it, rows_R(N*M)."""
        total = None
        for rows in self._parts(state_BMHW, source, mixing):
            # in place, as no part needs its output for its gradient
            total = rows if total is None else total.add_(rows)
        if total is None:
            rows_RM = as_rows(state_BMHW)
            total = rows_RM.new_zeros(len(rows_RM), len(EDGES_FROM[source]) * rows_RM.shape[1])
        return total

    def _parts(self, state_BMHW: Tensor, source: int, mixing: CellMixing) -> Iterator[Tensor]:
        """Yield the summands of `_sent`, rows_R(N*M) each."""
        weights = mixing.sources[source]
        plain = [name for name in PLAIN if mixing.computed(source, name)]
        if mixing.skip_dropout > 0 and mixing.statistics == "update" and PLAIN[1] in plain:
            plain.remove(PLAIN[1])
            repeated = as_rows(state_BMHW).repeat(
                1, len(EDGES_FROM[source])
            )  # each edge drops its own
            yield self.dropout(repeated, mixing.skip_dropout) * weights.scales[PLAIN[1]]
        if plain:
            # side by side, rows_R(P*M) @ (P*M, N*M) mixes them for all nodes in one product
            images = [self.average_pool(state_BMHW) if n == PLAIN[0] else state_BMHW for n in plain]
            matrix = torch.cat([weights.matrices[name] for name in plain])
            yield as_rows(torch.cat(images, dim=1)) @ matrix
        rectified_BMHW = F.relu(state_BMHW)
        for operation in KERNEL_SIZES:
            edges = mixing.computed(source, operation)
            if edges:
                stack = self.convolutions[f"{operation}_from_{source}"]
                assert isinstance(stack, StackedConvolution)
                yield _convolved(rectified_BMHW, stack, edges, weights.scales[operation], mixing)


def _convolved(
    rectified_BMHW: Tensor,
    stack: StackedConvolution,
    edges: list[int],
    scale_N: Tensor,
    mixing: CellMixing,
) -> Tensor:
    """Return a convolution of `edges`, rows_R(N*M), and zeros for their source's other edges."""
    # All N edges that leave the source, of which `edges` are to be computed here; `stack` has those
    # that were built.
    every = EDGES_FROM[EDGES[edges[0]][0]]
    chosen = None if edges == stack.edges else [stack.edges.index(edge) for edge in edges]
    channels = rectified_BMHW.shape[1]
    places = constant([every.index(edge) for edge in edges], scale_N.device)
    if edges != every:
        scale_N = scale_N.view(-1, channels).index_select(0, places).flatten()
    rows = as_rows(
        convolve_and_norm(
            rectified_BMHW, stack, stack.norm, mixing.kernels, mixing.statistics,
            chosen=chosen, scale_N=scale_N,
        )
    )  # fmt: skip
    if edges == every:
        return rows
    # The rows of an identity matrix that belong to `edges`: their product with the outputs puts
    # these into the columns of their nodes, and leaves zeros in the others.
    identity = torch.eye(len(every) * channels, dtype=rows.dtype, device=rows.device)
    by_edge = identity.view(len(every), channels, -1)
    return rows @ by_edge.index_select(0, places).flatten(0, 1)


class NasBench201Supernet(StagedSupernet):
    """The supernet of the benchmark's cells; see `StagedSupernet`.

    Args:
        partial_channels: k; a divisor of `channels`.
    """

    def __init__(
        self,
        shape: TaskShape,
        *,
        channels: int,
        cells: int,
        partial_channels: int,
        active: Mapping[str, Tensor] | None,
        skip_dropout: float,
    ) -> None:
        super().__init__(
            shape,
            OPERATIONS,
            channels=channels,
            cells=cells,
            active=active,
            skip_dropout=skip_dropout,
            make_cell=lambda width, built_EO: MixedCell(width, partial_channels, built_EO),
            layers=IMAGES,
            space="nasbench201",
        )

    def norm_of(self) -> dict[Convolution, BatchNorm]:
        stacks = [part for part in self.modules() if isinstance(part, StackedConvolution)]
        return {stack: stack.norm for stack in stacks}

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
            state_mixings(weights_EO, OPERATIONS, partial.mixed, EDGES_FROM),
            partial.paths(gates_E),
            computed_EO,
            kernels,
            statistics,
            self.skip_dropout,
        )


def inherited(genotype: Genotype, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the network of a genotype, from the state of a supernet.

    A convolution is a part of the stack of all edges that leave its source. Its batch norm has no
    scale and shift in the supernet: 1 and 0 in the network.
    """
    state = {name: value for name, value in weights.items() if ".convolutions." not in name}
    cells = {name.partition("convolutions.")[0] for name in weights if ".convolutions." in name}
    for cell in cells:
        for edge in genotype.cell("cell").edges:
            if edge.operation not in KERNEL_SIZES:
                continue
            stack = f"{cell}convolutions.{edge.operation}_from_{edge.source}."
            place = EDGES_FROM[edge.source].index(EDGES.index((edge.source, edge.target)))
            mean_EC = weights[f"{stack}norm.running_mean_EC"]
            own = slice(place, place + 1)
            kernels = weights[f"{stack}kernels_NMkk"].chunk(len(mean_EC))[place]
            name = f"{cell}convolutions.{edge.source}_{edge.target}."
            state |= {
                f"{name}convolution.weight": kernels.clone(),
                f"{name}norm.weight_EC": torch.ones_like(mean_EC[own]),
                f"{name}norm.bias_EC": torch.zeros_like(mean_EC[own]),
                f"{name}norm.running_mean_EC": mean_EC[own].clone(),
                f"{name}norm.running_var_EC": weights[f"{stack}norm.running_var_EC"][own].clone(),
            }
    return state

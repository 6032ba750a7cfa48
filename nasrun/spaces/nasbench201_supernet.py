"""The NAS-Bench-201 supernet: all 15,625 cells in one network with shared weights.

Edges that leave the same node read the same input, so their pool is computed once and their
convolutions are stacked in one call; the mixing weight of a convolution is the scale of its batch
norm. As in the benchmark's search networks only the skeleton has affine batch norm, and pooling
has none. Shapes: B batch, C channels, M mixed channels (C / partial_channels), H height, W width,
E edges, O operations (5), N edges of one call (or N = E*M output channels of a stack), k kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.protocols import MixingWeights, Statistics, TaskShape
from nasrun.spaces.batch_norm import BatchNorm
from nasrun.spaces.nasbench201 import EDGES, OPERATIONS
from nasrun.spaces.nasbench201_network import KERNEL_SIZES, Skeleton
from nasrun.spaces.stacked import AveragePool

NUM_NODES = 4


@dataclass(frozen=True)
class CellMixing:
    """How one forward pass mixes the operations of a cell."""

    weights_EO: Tensor  # with the gates multiplied in
    gates_E: Tensor | None
    computed_EO: list[list[bool]]
    skip_dropout: float

    def computed(self, source: int, operation: str) -> list[int]:
        """The edges that leave `source` and compute `operation`."""
        column = OPERATIONS.index(operation)
        return [e for e in edges_from(source) if self.computed_EO[e][column]]

    def weight(self, edge: int, operation: str) -> Tensor:
        return self.weights_EO[edge, OPERATIONS.index(operation)]


def edges_from(source: int) -> list[int]:
    return [edge for edge, (start, _) in enumerate(EDGES) if start == source]


class StackedConvolution(nn.Module):
    """Convolution and batch norm of some edges that leave the same node, in one call each."""

    def __init__(self, edges: list[int], channels: int, kernel_size: int) -> None:
        super().__init__()
        self.edges = edges
        bound = 1 / math.sqrt(channels * kernel_size**2)  # torch's default: 1 / sqrt(fan in)
        kernels = torch.empty(len(edges) * channels, channels, kernel_size, kernel_size)
        self.kernels_NMkk = nn.Parameter(kernels.uniform_(-bound, bound))
        self.norm = BatchNorm(channels, num_edges=len(edges))

    def of_edge(self) -> Tensor:
        """kernels_EMMkk, a view of the parameter."""
        return self.kernels_NMkk.view(len(self.edges), -1, *self.kernels_NMkk.shape[1:])

    def forward(
        self, rectified_BMHW: Tensor, edges: list[int], scale_N: Tensor, statistics: Statistics
    ) -> tuple[Tensor, ...]:
        """The scaled outputs of `edges`, N times images_BMHW."""
        chosen = None if edges == self.edges else [self.edges.index(edge) for edge in edges]
        kernels = self.kernels_NMkk if chosen is None else self.of_edge()[chosen].flatten(0, 1)
        stacked = F.conv2d(rectified_BMHW, kernels, padding=kernels.shape[-1] // 2)
        normalised: Tensor = self.norm(stacked, statistics, chosen=chosen, scale_N=scale_N)
        return normalised.chunk(len(edges), dim=1)


class MixedCell(nn.Module):
    """A cell whose edges mix their operations."""

    def __init__(self, channels: int, partial_channels: int, built_EO: list[list[bool]]) -> None:
        super().__init__()
        self.partial_channels = partial_channels
        self.mixed = channels // partial_channels
        self.average_pool = AveragePool()
        self.convolutions = nn.ModuleDict()
        for source in range(NUM_NODES - 1):
            for operation, kernel_size in KERNEL_SIZES.items():
                column = OPERATIONS.index(operation)
                edges = [edge for edge in edges_from(source) if built_EO[edge][column]]
                if edges:
                    stack = StackedConvolution(edges, self.mixed, kernel_size)
                    self.convolutions[f"{operation}_from_{source}"] = stack

    def forward(self, images_BCHW: Tensor, statistics: Statistics, mixing: CellMixing) -> Tensor:
        state_BCHW = images_BCHW
        totals: list[list[Tensor]] = [[] for _ in range(NUM_NODES)]  # images_BMHW to be added up
        bypasses: list[list[Tensor]] = [[] for _ in range(NUM_NODES)]
        for source in range(NUM_NODES - 1):
            state_BMHW, bypass_BCHW = state_BCHW[:, : self.mixed], state_BCHW[:, self.mixed :]
            self._add_convolutions(state_BMHW, source, statistics, mixing, totals)
            self._add_pool_and_skip(state_BMHW, source, statistics, mixing, totals)
            for edge in edges_from(source) if self.partial_channels > 1 else ():
                gate = 1.0 if mixing.gates_E is None else mixing.gates_E[edge]
                bypasses[EDGES[edge][1]].append(bypass_BCHW * gate)
            # This was the last node that feeds the next one.
            node = source + 1
            state_BCHW = sum(totals[node], start=torch.zeros_like(state_BMHW))
            if self.partial_channels > 1:
                state_BCHW = self._join(state_BCHW, sum(bypasses[node][1:], bypasses[node][0]))
        return state_BCHW

    def _add_convolutions(
        self,
        state_BMHW: Tensor,
        source: int,
        statistics: Statistics,
        mixing: CellMixing,
        totals: list[list[Tensor]],
    ) -> None:
        rectified_BMHW = F.relu(state_BMHW)
        for operation in KERNEL_SIZES:
            edges = mixing.computed(source, operation)
            if not edges:
                continue
            convolve = self.convolutions[f"{operation}_from_{source}"]
            weights_N = mixing.weights_EO[edges, OPERATIONS.index(operation)]
            scale_N = weights_N.repeat_interleave(self.mixed)
            outputs = convolve(rectified_BMHW, edges, scale_N, statistics)
            for edge, output_BMHW in zip(edges, outputs, strict=True):
                totals[EDGES[edge][1]].append(output_BMHW)

    def _add_pool_and_skip(
        self,
        state_BMHW: Tensor,
        source: int,
        statistics: Statistics,
        mixing: CellMixing,
        totals: list[list[Tensor]],
    ) -> None:
        pooled_edges = mixing.computed(source, "avg_pool_3x3")
        if pooled_edges:
            pooled_BMHW = self.average_pool(state_BMHW)
            for edge in pooled_edges:
                totals[EDGES[edge][1]].append(pooled_BMHW * mixing.weight(edge, "avg_pool_3x3"))
        for edge in mixing.computed(source, "skip_connect"):
            kept_BMHW = state_BMHW
            if mixing.skip_dropout > 0 and statistics == "update":
                kept_BMHW = F.dropout(state_BMHW, mixing.skip_dropout)  # another one for each edge
            totals[EDGES[edge][1]].append(kept_BMHW * mixing.weight(edge, "skip_connect"))

    def _join(self, mixed_BMHW: Tensor, bypass_BCHW: Tensor) -> Tensor:
        """Both parts shuffled over `partial_channels` groups (PC-DARTS, section 3.2). The shuffle
        is linear, so it is done once per node, on sums over its edges."""
        return F.channel_shuffle(torch.cat([mixed_BMHW, bypass_BCHW], dim=1), self.partial_channels)


class NasBench201Supernet(Skeleton):
    """A `nasrun.protocols.Supernet` with the cell type "cell".

    Args:
        channels, cells: width of the first stage, and N cells per stage.
        partial_channels: k; a divisor of `channels`.
        active: "cell" -> active_EO bool: the operations that are built (default: all).
        skip_dropout: probability that an element of a skip's output is dropped, in "update" calls;
            it may be changed between calls.
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
        everything = torch.ones(len(EDGES), len(OPERATIONS), dtype=torch.bool, device="cpu")
        built_EO = everything if active is None else active["cell"].bool().cpu()
        built = built_EO.tolist()
        super().__init__(
            shape, channels, cells, lambda width: MixedCell(width, partial_channels, built)
        )
        self.built_EO = built_EO
        self.skip_dropout = skip_dropout

    def forward(
        self,
        images_BCHW: Tensor,
        weights: MixingWeights,
        *,
        gates: Mapping[str, Tensor] | None = None,
        active: Mapping[str, Tensor] | None = None,
        statistics: Statistics = "update",
    ) -> Tensor:
        """logits_BK; see `nasrun.protocols.Supernet`."""
        weights_EO = weights["cell"]
        assert weights_EO.shape == (len(EDGES), len(OPERATIONS))
        gates_E = None if gates is None else gates["cell"]
        if gates_E is not None:
            weights_EO = weights_EO * gates_E[:, None]
        computed_EO = self.built_EO
        if active is not None:
            computed_EO = computed_EO & active["cell"].bool().cpu()
        mixing = CellMixing(weights_EO, gates_E, computed_EO.tolist(), self.skip_dropout)
        return self.logits(images_BCHW, statistics, mixing)

    def each(
        self,
        images_BCHW: Tensor,
        candidates: Iterable[MixingWeights],
        statistics: Statistics = "batch",
    ) -> Iterator[Tensor]:
        """logits_BK of each candidate; little is common to them."""
        return (self(images_BCHW, weights, statistics=statistics) for weights in candidates)

"""All edges that leave one state of a DARTS cell, with all their operations.

The edges read the same input. What has no parameters (pools, the identity) is computed once for
all of them; the convolutions of one kind are stacked: one call for all edges.

Shapes: B batch, M mixed channels, H height, W width, E edges of a cell, O operations, N edges of
this state (one for each node that it feeds), R = B*H*W rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.protocols import Statistics
from nasrun.spaces.batch_norm import BatchNorm
from nasrun.spaces.stacked import FactorisedReduce, Separable, as_rows, average_pool, max_pool

POOLS = {"max_pool_3x3": max_pool, "avg_pool_3x3": average_pool}
OPERATIONS = (
    "none",
    *POOLS,
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


@dataclass(frozen=True)
class CellMixing:
    """How one forward pass mixes the operations of a cell."""

    weights_EO: Tensor  # gates multiplied in, 0 where not active
    gates_E: Tensor | None
    active_EO: list[list[bool]]
    statistics: Statistics
    skip_dropout: float


class Convolutions(nn.Module):
    """N times ReLU, convolution, batch norm; for separable convolutions all of it twice."""

    def __init__(self, name: str, num_edges: int, channels: int, stride: int) -> None:
        super().__init__()
        convolutions: list[nn.Module]
        if name == "skip_connect":
            convolutions = [FactorisedReduce(num_edges, channels, channels)]
        else:
            kernel_size = int(name[-1])
            dilation = 2 if name.startswith("dil") else 1
            convolutions = [Separable(num_edges, channels, kernel_size, stride, dilation)]
            if name.startswith("sep"):
                convolutions.append(Separable(num_edges, channels, kernel_size))
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(BatchNorm(channels, num_edges=num_edges) for _ in convolutions)

    def forward(
        self,
        rectified_BMHW: Tensor,
        weights_N: Tensor,
        statistics: Statistics,
        chosen: list[int] | None,
    ) -> Tensor:
        """The weighted outputs as rows_R(N*M), of all edges or of the `chosen` ones."""
        images = rectified_BMHW
        last = len(self.convolutions) - 1
        # The mixing weight is the scale of the last batch norm, where it costs no pass of its own.
        for step, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            scale_E = weights_N if step == last else None
            images = norm(convolve(images, chosen), statistics, chosen=chosen, scale_E=scale_E)
            images = images if step == last else F.relu(images)
        return as_rows(images)


class StateEdges(nn.Module):
    """The operations on the N edges that leave one state.

    `edges` are their positions in the cell; `built_EO` says which operations exist.
    """

    def __init__(
        self,
        edges: list[int],
        operations: Sequence[str],
        built_EO: list[list[bool]],
        channels: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.edges, self.stride = edges, stride
        self.columns = {name: column for column, name in enumerate(operations) if name != "none"}
        self.built = {
            name: nodes for name in self.columns if (nodes := self._nodes(name, built_EO))
        }
        self.pools = [name for name in self.built if name in POOLS]
        self.pool_norm = BatchNorm(channels, num_edges=len(self.pools))
        self.has_identity = stride == 1 and "skip_connect" in self.built
        self.stacks = nn.ModuleDict(
            {
                name: Convolutions(name, len(nodes), channels, stride)
                for name, nodes in self.built.items()
                if name not in POOLS and not (name == "skip_connect" and self.has_identity)
            }
        )

    def _nodes(self, name: str, active_EO: list[list[bool]]) -> list[int]:
        """Which of the N edges have the operation."""
        column = self.columns[name]
        return [node for node, edge in enumerate(self.edges) if active_EO[edge][column]]

    def forward(self, images_BMHW: Tensor, total: Tensor, mixing: CellMixing) -> Tensor:
        """`total`, rows_R(N*M) that sum up what N nodes receive, with these edges added."""
        weights_NO = mixing.weights_EO[self.edges]
        total = self._add_pools(images_BMHW, total, weights_NO, mixing)
        total = self._add_identity(images_BMHW, total, weights_NO, mixing)
        rectified_BMHW = F.relu(images_BMHW)
        for name, stack in self.stacks.items():
            nodes, built = self._nodes(name, mixing.active_EO), self.built[name]
            weights_N = weights_NO[:, self.columns[name]]
            if len(nodes) == len(self.edges):
                total = total + stack(rectified_BMHW, weights_N, mixing.statistics, None)
            elif nodes:
                chosen = None if nodes == built else [built.index(node) for node in nodes]
                rows = stack(rectified_BMHW, weights_N[nodes], mixing.statistics, chosen)
                places = torch.eye(len(self.edges), dtype=rows.dtype, device=rows.device)[nodes]
                total = torch.addmm(total, rows, _per_channel(places, images_BMHW.shape[1]))
        return total

    def _add_pools(
        self, images_BMHW: Tensor, total: Tensor, weights_NO: Tensor, mixing: CellMixing
    ) -> Tensor:
        """`total` with the pools added, each computed once for all edges."""
        pools = [name for name in self.pools if self._nodes(name, mixing.active_EO)]
        if not pools:
            return total
        pooled = torch.cat([POOLS[name](images_BMHW, self.stride) for name in pools], dim=1)
        chosen = None if pools == self.pools else [self.pools.index(name) for name in pools]
        pooled = self.pool_norm(pooled, mixing.statistics, chosen=chosen)
        weights_PN = weights_NO[:, [self.columns[name] for name in pools]].T
        return torch.addmm(total, as_rows(pooled), _per_channel(weights_PN, images_BMHW.shape[1]))

    def _add_identity(
        self, images_BMHW: Tensor, total: Tensor, weights_NO: Tensor, mixing: CellMixing
    ) -> Tensor:
        """`total` with the input itself added; dropout treats each edge apart."""
        if not self.has_identity or not self._nodes("skip_connect", mixing.active_EO):
            return total
        rows_RM, channels = as_rows(images_BMHW), images_BMHW.shape[1]
        weights_N = weights_NO[:, self.columns["skip_connect"]]
        if mixing.skip_dropout == 0 or mixing.statistics != "update":
            return torch.addmm(total, rows_RM, _per_channel(weights_N[None], channels))
        dropped = F.dropout(rows_RM.repeat(1, len(self.edges)), mixing.skip_dropout)
        return torch.addcmul(total, dropped, weights_N.repeat_interleave(channels))


def _per_channel(weights_SN: Tensor, channels: int) -> Tensor:
    """The matrix (S*M, N*M) that takes S stacked outputs to N nodes, channel by channel."""
    identity_MM = torch.eye(channels, dtype=weights_SN.dtype, device=weights_SN.device)
    return (weights_SN[:, None, :, None] * identity_MM[:, None]).flatten(2).flatten(0, 1)

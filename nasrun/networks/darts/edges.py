"""Compute all operations on all edges that leave one state of a DARTS cell.

The edges read the same input. What has no parameters (pools, the identity) is computed once for
all of them; the convolutions of one kind are stacked: one call for all edges.

Shapes: B batch, M mixed channels, H height, W width, E edges of a cell, O operations, N edges of
this state (one for each node that it feeds), R = B*H*W rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import constant
from nasrun.genotypes.darts import EDGES, NODES
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.dropout import Dropout
from nasrun.networks.blocks.edge_mixing import StateMixing
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.networks.blocks.stacked import (
    AveragePool,
    Convolution,
    Dense,
    FactorisedReduce,
    Kernels,
    MaxPool,
    Separable,
    as_rows,
    convolve_and_norm,
)
from nasrun.protocols.space import Statistics

# Windows of 3x3, which see one row where there is one. By the first letters of the operation.
POOLS = {"max": MaxPool, "avg": AveragePool}
NUM_NODES, NUM_EDGES = len(NODES), len(EDGES)
EDGES_OF_STATE = tuple(
    [edge for edge, (source, _) in enumerate(EDGES) if source == state]
    for state in range(NODES[-1])
)


@dataclass(frozen=True)
class CellMixing:
    """How one forward pass mixes the operations of a cell."""

    states: Sequence[StateMixing]
    gates_E: Tensor | None  # already multiplied into the weights
    paths: Tensor  # the matrix of `PartialChannels.paths`
    active_EO: list[list[bool]]
    kernels: Kernels
    statistics: Statistics
    skip_dropout: float


class Convolutions(nn.Module):
    """The same convolution with batch norm on N edges; a separable one comes twice in a row."""

    def __init__(
        self, name: str, num_edges: int, channels: int, stride: int, layers: Layers = IMAGES
    ) -> None:
        super().__init__()
        convolutions: list[nn.Module]
        if name == "skip_connect":
            convolutions = [FactorisedReduce(num_edges, channels, channels, layers)]
        elif name.startswith("conv"):
            convolutions = [Dense(num_edges, channels, int(name[-1]), stride, layers)]
        else:
            size = int(name[-1])
            dilation = 2 if name.startswith("dil") else 1
            convolutions = [Separable(num_edges, channels, size, stride, dilation, layers)]
            if name.startswith("sep"):
                convolutions.append(Separable(num_edges, channels, size, layers=layers))
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(BatchNorm(channels, num_edges=num_edges) for _ in convolutions)

    def pairs(self) -> list[tuple[Convolution, BatchNorm]]:
        """List each convolution with its batch norm."""
        convolutions = cast(Iterable[Convolution], self.convolutions)
        return list(zip(convolutions, cast(Iterable[BatchNorm], self.norms), strict=True))

    def forward(
        self,
        rectified_BMHW: Tensor,
        scale_N: Tensor | None,
        kernels: Kernels,
        statistics: Statistics,
        chosen: list[int] | None,
    ) -> Tensor:
        """Return rows_R(N*M), scaled by `scale_N`, of all edges or of the `chosen` ones."""
        images = rectified_BMHW
        last = len(self.convolutions) - 1
        # The mixing weight is the scale of the last batch norm, where it costs no pass of its own.
        for step, (convolution, norm) in enumerate(self.pairs()):
            images = convolve_and_norm(
                images, convolution, norm, kernels, statistics,
                chosen=chosen, scale_N=scale_N if step == last else None,
            )  # fmt: skip
            images = images if step == last else F.relu(images, inplace=True)
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
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        self.edges, self.stride = edges, stride
        self.columns = {name: column for column, name in enumerate(operations) if name != "none"}
        self.built = {
            name: nodes for name in self.columns if (nodes := self._nodes(name, built_EO))
        }
        self.pools = nn.ModuleDict(
            {name: POOLS[name[:3]](stride) for name in self.built if "pool" in name}
        )
        # One norm for each pool, not for each edge: without parameters a pool has the same output,
        # and the same statistics, on every edge that leaves the state.
        self.pool_norm = BatchNorm(channels, num_edges=len(self.pools))
        # At stride 2 a skip is a factorised reduction with weights of its own on each edge.
        self.has_identity = stride == 1 and "skip_connect" in self.built
        self.dropout = Dropout()
        self.stacks = nn.ModuleDict(
            {
                name: Convolutions(name, len(nodes), channels, stride, layers)
                for name, nodes in self.built.items()
                if name not in self.pools and not (name == "skip_connect" and self.has_identity)
            }
        )
        # What a pass with running statistics joins to one convolution; see `_folded`.
        everywhere = all(len(nodes) == len(edges) for nodes in self.built.values())
        self.dilated = {
            name: cast(Separable, cast(Convolutions, stack).convolutions[0])
            for name, stack in self.stacks.items()
            if name.startswith("dil_conv") and everywhere
        }

    def _nodes(self, name: str, active_EO: list[list[bool]]) -> list[int]:
        """List which of the N edges have the operation, by their positions among the N."""
        column = self.columns[name]
        return [node for node, edge in enumerate(self.edges) if active_EO[edge][column]]

    def forward(self, images_BMHW: Tensor, weights: StateMixing, mixing: CellMixing) -> Tensor:
        """Return what the N nodes receive from this state, rows_R(N*M)."""
        if self._can_fold(mixing):
            return self._folded(images_BMHW, weights, mixing)
        parts = self._parts(images_BMHW, weights, mixing)
        total = next(parts, None)
        if total is None:
            # Every edge is `none`: zeros at the size that the operations would have given.
            pixels_R1 = as_rows(images_BMHW[:, :1, :: self.stride, :: self.stride])
            return pixels_R1.new_zeros(len(pixels_R1), len(self.edges) * images_BMHW.shape[1])
        for rows in parts:
            # In place, as no part needs its output for its gradient.
            total = total.add_(rows)
        return total

    def _parts(
        self, images_BMHW: Tensor, weights: StateMixing, mixing: CellMixing
    ) -> Iterator[Tensor]:
        """Yield the summands of `forward`, rows_R(N*M) each."""
        yield from self._pooled(images_BMHW, weights, mixing)
        yield from self._identity(images_BMHW, weights, mixing)
        rectified_BMHW = F.relu(images_BMHW)
        for name, stack in self.stacks.items():
            nodes, built = self._nodes(name, mixing.active_EO), self.built[name]
            scale_N = weights.scales[name]
            if len(nodes) == len(self.edges):
                yield stack(rectified_BMHW, scale_N, mixing.kernels, mixing.statistics, None)
            elif nodes:
                chosen = None if nodes == built else [built.index(node) for node in nodes]
                yield self._some(stack, nodes, chosen, rectified_BMHW, scale_N, mixing)

    def _can_fold(self, mixing: CellMixing) -> bool:
        """Return whether `_folded` applies.

        It does under running statistics, where every edge computes every operation.
        """
        whole = all(all(mixing.active_EO[edge]) for edge in self.edges)
        return (
            mixing.statistics == "running"
            and whole
            and bool(self.pools)
            and bool(self.dilated)
            and all(convolution in mixing.kernels.composed for convolution in self.dilated.values())
        )

    def _folded(self, images_BMHW: Tensor, weights: StateMixing, mixing: CellMixing) -> Tensor:
        """Compute `forward` in fewer calls, under running statistics.

        All but ReLU and the maximum is linear then: pools and the identity are one product, and the
        dilated convolutions, whose taps coincide, are one convolution, whose bias also holds that
        of the pools.
        """
        plain = [*self.pools, *(["skip_connect"] if self.has_identity else [])]
        matrix = torch.cat([weights.matrices[name] for name in plain])
        factor_EM, shift_EM = mixing.kernels.folded[self.pool_norm]
        pooled_part = matrix[: factor_EM.numel()]
        # norm(x) @ weights = x @ (factor * weights) + shift @ weights: the bias is taken from the
        # weights before the factor goes into them. `pooled_part` is a view of `matrix`, which is
        # new.
        bias_N = shift_EM.flatten() @ pooled_part
        pooled_part.mul_(factor_EM.view(-1, 1))
        rows = [pool(images_BMHW) for pool in self.pools.values()]
        rows = [*rows, images_BMHW] if self.has_identity else rows
        total = as_rows(torch.cat(rows, dim=1)) @ matrix
        rectified_BMHW = F.relu(images_BMHW)
        for name, stack in self.stacks.items():
            # sep_conv has a ReLU in between, a factorised reduction reads other pixels
            if name not in self.dilated:
                scale_N = weights.scales[name]
                total.add_(stack(rectified_BMHW, scale_N, mixing.kernels, "running", None))
        kernels = []
        for name, convolution in self.dilated.items():
            norm = cast(BatchNorm, cast(Convolutions, self.stacks[name]).norms[0])
            scale_N, shift_EM = weights.scales[name], mixing.kernels.folded[norm][1]
            bias_N = torch.addcmul(bias_N, shift_EM.flatten(), scale_N)
            kernel_NIKK = mixing.kernels.composed[convolution].flatten(0, 1)
            kernels.append(kernel_NIKK * scale_N[:, None, None, None])
        # At dilation 2 the taps of a 3x3 kernel lie 2 pixels apart, on the inner 3x3 taps of a 5x5
        # one, so both kernels can be added up.
        merged, *others = sorted(kernels, key=lambda kernel: -kernel.shape[-1])
        for kernel in others:
            margins = (
                (a - b) // 2 for a, b in zip(merged.shape[2:], kernel.shape[2:], strict=True)
            )
            rows_of, columns_of = (slice(margin, -margin or None) for margin in margins)
            merged[..., rows_of, columns_of].add_(kernel)
        # Any of the dilated convolutions will do: they share stride and dilation, and get the
        # kernel.
        return total.add_(as_rows(convolution(rectified_BMHW, merged, bias_N)))

    def outputs(self, images_BMHW: Tensor, mixing: CellMixing) -> Tensor:
        """Return everything that these edges can mix, unweighted, rows_R(Q).

        The columns are the pools, the identity, and the outputs of each convolution on the edges
        that have it; a product with `matrix` mixes them.
        """
        parts = []
        if self.pools:
            pooled = torch.cat([pool(images_BMHW) for pool in self.pools.values()], dim=1)
            parts.append(as_rows(self.pool_norm(pooled, mixing.statistics)))
        if self.has_identity:
            parts.append(as_rows(images_BMHW))
        rectified_BMHW = F.relu(images_BMHW)
        for stack in self.stacks.values():
            parts.append(stack(rectified_BMHW, None, mixing.kernels, mixing.statistics, None))
        return torch.cat(parts, dim=1)

    def matrix(self, weights: StateMixing) -> Tensor:
        """Return the weights (Q, N*M) with which the N nodes receive the columns of `outputs`."""
        plain = [*self.pools, *(["skip_connect"] if self.has_identity else [])]
        rows = [weights.matrices[name] for name in plain]
        for name in self.stacks:
            # (N*M, N*M): the output of an edge goes to the edge's own node and to no other.
            places = weights.scales[name].diag()
            if len(self.built[name]) < len(self.edges):
                # (N, M, N*M), of which the rows of edges without the operation are left out
                by_edge = places.view(len(self.edges), -1, len(places))
                built = constant(self.built[name], by_edge.device)
                places = by_edge.index_select(0, built).flatten(0, 1)
            rows.append(places)
        return torch.cat(rows)

    def _some(
        self,
        stack: nn.Module,
        nodes: list[int],
        chosen: list[int] | None,
        rectified_BMHW: Tensor,
        scale_N: Tensor,
        mixing: CellMixing,
    ) -> Tensor:
        """Return the convolutions on the edges to `nodes`, and zeros for the other edges."""
        channels = rectified_BMHW.shape[1]
        scale_N, places = scale_N.view(-1, channels), constant(nodes, scale_N.device)
        rows = stack(
            rectified_BMHW,
            scale_N.index_select(0, places).flatten(),
            mixing.kernels,
            mixing.statistics,
            chosen,
        )
        # The rows of an identity matrix that belong to `nodes`, ((number of nodes) * M, N*M): their
        # product with the outputs puts these into the columns of their nodes, and leaves zeros in
        # the others.
        identity = torch.eye(scale_N.numel(), dtype=rows.dtype, device=rows.device)
        by_node = identity.view(-1, channels, len(identity))
        return rows @ by_node.index_select(0, places).flatten(0, 1)

    def _pooled(
        self, images_BMHW: Tensor, weights: StateMixing, mixing: CellMixing
    ) -> Iterator[Tensor]:
        """Yield the mixture of the pools, each computed once for all edges."""
        pools = [name for name in self.pools if self._nodes(name, mixing.active_EO)]
        if not pools:
            return
        pooled = torch.cat([self.pools[name](images_BMHW) for name in pools], dim=1)
        whole = len(pools) == len(self.pools)
        # a pool that no edge computes is left out, and its running statistics stay as they are
        chosen = None if whole else [list(self.pools).index(name) for name in pools]
        pooled = self.pool_norm(pooled, mixing.statistics, chosen=chosen)
        yield as_rows(pooled) @ torch.cat([weights.matrices[name] for name in pools])

    def _identity(
        self, images_BMHW: Tensor, weights: StateMixing, mixing: CellMixing
    ) -> Iterator[Tensor]:
        """Yield the input itself, mixed; dropout treats each edge apart."""
        if not self.has_identity or not self._nodes("skip_connect", mixing.active_EO):
            return
        rows_RM = as_rows(images_BMHW)
        if mixing.skip_dropout == 0 or mixing.statistics != "update":
            yield rows_RM @ weights.matrices["skip_connect"]
        else:
            # A copy for each edge, as independent edges would draw masks of their own.
            dropped = self.dropout(rows_RM.repeat(1, len(self.edges)), mixing.skip_dropout)
            yield dropped * weights.scales["skip_connect"]

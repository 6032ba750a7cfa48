"""A cell of the DARTS supernet: two inputs, four nodes, and the channels that bypass them.

Shapes: B batch, C channels, H height, W width, N nodes that a state feeds, R = B*H*W rows, M mixed
channels (C / partial_channels) per node, Q outputs of all operations on the edges of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.protocols import Statistics
from nasrun.spaces.batch_norm import BatchNorm
from nasrun.spaces.darts_edges import (
    EDGES_OF_STATE,
    NUM_EDGES,
    NUM_NODES,
    CellMixing,
    StateEdges,
    edge_index,
)
from nasrun.spaces.stacked import (
    Convolution,
    FactorisedReduce,
    Kernels,
    Pointwise,
    as_images,
    as_rows,
    convolve_and_norm,
)


class Preprocess(nn.Module):
    """Brings a rectified cell output to C channels, and to half its size after a reduction."""

    def __init__(self, channels_in: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.convolve: Pointwise | FactorisedReduce = (
            FactorisedReduce(1, channels_in, channels)
            if halve
            else Pointwise(channels_in, channels)
        )
        self.norm = BatchNorm(channels)

    def pairs(self) -> list[tuple[Convolution, BatchNorm]]:
        return [(self.convolve, self.norm)]

    def forward(self, images_BCHW: Tensor, kernels: Kernels, statistics: Statistics) -> Tensor:
        return convolve_and_norm(images_BCHW, self.convolve, self.norm, kernels, statistics)


class PartialChannels(nn.Module):
    """Only the first M = C / k channels of a state are mixed; the others bypass the operations.

    An edge puts both together again and shuffles them (PC-DARTS, section 3.2), and a node sums its
    edges. That is linear in the bypasses of the cell's inputs and in the mixtures which the nodes
    receive, so that one product with a small matrix, the paths, computes all nodes.
    """

    ungated_paths: Tensor

    def __init__(self, channels: int, partial_channels: int) -> None:
        super().__init__()
        self.channels, self.mixed = channels, channels // partial_channels
        self.bypassing = channels - self.mixed
        ones_E = torch.ones(NUM_EDGES)
        self.register_buffer("ungated_paths", self._paths(1, ones_E), persistent=False)

    def paths(self, gates_E: Tensor | None) -> Tensor:
        """(Q, 4*C), to the four nodes from what they consist of: the sum of both bypasses, or with
        gates each of them, and the mixtures which the nodes receive."""
        return self.ungated_paths if gates_E is None else self._paths(2, gates_E)

    def _paths(self, num_bypasses: int, gates_E: Tensor) -> Tensor:
        """The nodes for each of Q inputs that are 1 where all others are 0."""
        sizes = [self.bypassing] * num_bypasses + [self.mixed] * NUM_NODES
        inputs_QQ = torch.eye(sum(sizes), dtype=gates_E.dtype, device=gates_E.device)
        parts = torch.split(inputs_QQ, sizes, dim=1)
        bypasses, mixtures = list(parts[:num_bypasses]), parts[num_bypasses:]
        nodes = []
        for node, mixture_QM in enumerate(mixtures):
            gates_S = gates_E[edge_index(node, 0) : edge_index(node + 1, 0)][-len(bypasses) :]
            joined_QC = torch.cat([mixture_QM, torch.stack(bypasses, dim=-1) @ gates_S], dim=1)
            nodes.append(joined_QC.view(len(inputs_QQ), -1, self.mixed).transpose(1, 2).flatten(1))
            bypasses.append(nodes[-1][:, self.mixed :])
        return torch.cat(nodes, dim=1)

    def state(self, node: int, known_RQ: Tensor, paths: Tensor) -> Tensor:
        """The mixed channels of a node, rows_RM, from all that it consists of."""
        if not self.bypassing:
            return known_RQ[:, -self.mixed :]
        first = node * self.channels
        return known_RQ @ paths[: known_RQ.shape[1], first : first + self.mixed]

    def nodes(self, known_RQ: Tensor, paths: Tensor) -> Tensor:
        """The four nodes, rows_R(4*C), from all that they consist of."""
        return known_RQ @ paths if self.bypassing else known_RQ

    def split(self, images_BCHW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """The mixed channels, and the bypass as it arrives at the nodes."""
        rows_RC = as_rows(images_BCHW)  # split as rows, so that the gradients are channels_last too
        mixed_BMHW, bypass_BCHW = (
            as_images(part, images_BCHW)
            for part in torch.split(rows_RC, [self.mixed, self.bypassing], dim=1)
        )
        if stride == 1:
            return mixed_BMHW, bypass_BCHW
        if not self.bypassing:
            return mixed_BMHW, bypass_BCHW[..., ::stride, ::stride]
        return mixed_BMHW, F.max_pool2d(bypass_BCHW, stride, ceil_mode=True)


@dataclass(frozen=True)
class CellInput:
    """A state that a cell reads; `outputs_RQ` are its edges' outputs where these are at hand."""

    mixed_BMHW: Tensor
    bypass_BCHW: Tensor
    outputs_RQ: Tensor | None = None


class Cell(nn.Module):
    """Two input states and four nodes; a node sums the mixtures of all states before it.

    `rectified`: the nodes are, which is all that later cells do with them.
    """

    def __init__(
        self,
        inputs: list[Preprocess],
        channels: int,
        partial_channels: int,
        stride: int,
        operations: Sequence[str],
        built_EO: list[list[bool]],
        rectified: bool,
    ) -> None:
        super().__init__()
        self.stride, self.rectified = stride, rectified
        self.inputs = nn.ModuleList(inputs)
        self.partial = PartialChannels(channels, partial_channels)
        self.states = nn.ModuleList(
            StateEdges(edges, operations, built_EO, self.partial.mixed, stride if state < 2 else 1)
            for state, edges in enumerate(EDGES_OF_STATE)
        )

    def read(self, number: int, images_BCHW: Tensor, mixing: CellMixing) -> CellInput:
        """The state that input `number` becomes; the images are rectified."""
        images_BCHW = self.inputs[number](images_BCHW, mixing.kernels, mixing.statistics)
        return CellInput(*self.partial.split(images_BCHW, self.stride))

    def forward(self, inputs: Sequence[CellInput], mixing: CellMixing) -> Tensor:
        """The four nodes, B(4*C)HW, from both inputs."""
        like_BCHW = inputs[0].bypass_BCHW
        bypasses = [as_rows(one.bypass_BCHW) for one in inputs]
        gated = mixing.gates_E is not None
        known_RQ = torch.cat(bypasses, dim=1) if gated else bypasses[0] + bypasses[1]
        before, after = (self._from_input(*numbered, mixing) for numbered in enumerate(inputs))
        total = before + after  # rows, the sums of the nodes to come
        mixed, states = self.partial.mixed, cast(list[StateEdges], list(self.states))
        for node, edges in enumerate(states[len(inputs) :]):
            mixture, total = torch.split(total, [mixed, total.shape[1] - mixed], dim=1)
            known_RQ = torch.cat([known_RQ, mixture], dim=1)
            state_BMHW = as_images(self.partial.state(node, known_RQ, mixing.paths), like_BCHW)
            total = total + edges(state_BMHW, mixing.states[len(inputs) + node], mixing)
        rows = self.partial.nodes(torch.cat([known_RQ, total], dim=1), mixing.paths)
        return as_images(F.relu(rows, inplace=True) if self.rectified else rows, like_BCHW)

    def _from_input(self, number: int, read: CellInput, mixing: CellMixing) -> Tensor:
        """rows_R(4*M): what the nodes receive from an input."""
        edges, weights = cast(StateEdges, self.states[number]), mixing.states[number]
        if read.outputs_RQ is not None:
            return read.outputs_RQ @ edges.matrix(weights)
        rows: Tensor = edges(read.mixed_BMHW, weights, mixing)
        return rows

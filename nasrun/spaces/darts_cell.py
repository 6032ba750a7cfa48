"""A cell of the DARTS supernet: two inputs, four nodes, and the channels that bypass them.

Shapes: B batch, C channels, H height, W width, N nodes that a state feeds, R = B*H*W rows, M mixed
channels (C / partial_channels) per node, Q outputs of all operations on the edges of a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.protocols import Statistics
from nasrun.spaces.batch_norm import BatchNorm
from nasrun.spaces.darts_edges import EDGES_OF_STATE, NUM_NODES, CellMixing, StateEdges, edge_index
from nasrun.spaces.stacked import (
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

    def forward(self, images_BCHW: Tensor, kernels: Kernels, statistics: Statistics) -> Tensor:
        return convolve_and_norm(images_BCHW, self.convolve, self.norm, kernels, statistics)


class PartialChannels(nn.Module):
    """Only the first M = C / k channels of a state are mixed; the others bypass the operations.

    An edge puts both together again and shuffles them. That is linear, so it is done once per
    node, on sums over its edges, by a product with a constant permutation. PC-DARTS, section 3.2.
    """

    shuffle_CC: Tensor

    def __init__(self, channels: int, partial_channels: int) -> None:
        super().__init__()
        self.mixed = channels // partial_channels
        order_C = torch.arange(channels).view(partial_channels, -1).T.flatten()
        self.register_buffer("shuffle_CC", torch.eye(channels)[:, order_C], persistent=False)

    def split(self, images_BCHW: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """The mixed channels, and the bypass as it arrives at the nodes."""
        rows_RC = as_rows(images_BCHW)  # split as rows, so that the gradients are channels_last too
        mixed_BMHW, bypass_BCHW = (
            as_images(part, images_BCHW)
            for part in torch.split(rows_RC, [self.mixed, rows_RC.shape[1] - self.mixed], dim=1)
        )
        if stride == 1:
            return mixed_BMHW, bypass_BCHW
        if not bypass_BCHW.shape[1]:
            return mixed_BMHW, bypass_BCHW[..., ::stride, ::stride]
        return mixed_BMHW, F.max_pool2d(bypass_BCHW, stride, ceil_mode=True)

    def join(self, mixed_RM: Tensor, bypass_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """A node's two halves, from the sums of what its edges mixed and of what they bypassed."""
        if not bypass_BCHW.shape[1]:
            return as_images(mixed_RM, bypass_BCHW), bypass_BCHW
        bypass_RC = as_rows(bypass_BCHW)
        halves = []
        for columns in (slice(self.mixed), slice(self.mixed, None)):
            shuffle = self.shuffle_CC[:, columns]
            rows = torch.addmm(bypass_RC @ shuffle[self.mixed :], mixed_RM, shuffle[: self.mixed])
            halves.append(as_images(rows, bypass_BCHW))
        return halves[0], halves[1]


@dataclass(frozen=True)
class CellInput:
    """A state that a cell reads; `outputs_RQ` are its edges' outputs where these are at hand."""

    mixed_BMHW: Tensor
    bypass_BCHW: Tensor
    outputs_RQ: Tensor | None = None


class Cell(nn.Module):
    """Two input states and four nodes; a node sums the mixtures of all states before it."""

    def __init__(
        self,
        inputs: list[Preprocess],
        channels: int,
        partial_channels: int,
        stride: int,
        operations: Sequence[str],
        built_EO: list[list[bool]],
    ) -> None:
        super().__init__()
        self.stride = stride
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
        states = [(one.mixed_BMHW, one.bypass_BCHW) for one in inputs]
        bypass_sum = states[0][1]
        batch, _, height, width = bypass_sum.shape
        total = bypass_sum.new_zeros(1, NUM_NODES * self.partial.mixed)
        total = total.expand(batch * height * width, -1)  # rows, the sums of the nodes to come
        for state, edges in enumerate(cast(Iterable[StateEdges], self.states)):
            weights = mixing.states[state]
            outputs_RQ = inputs[state].outputs_RQ if state < len(inputs) else None
            if outputs_RQ is not None:
                total = torch.addmm(total, outputs_RQ, edges.matrix(weights))
            else:
                total = edges(states[state][0], total, weights, mixing)
            if state == 0:
                continue  # every node needs both inputs
            if mixing.gates_E is None:
                bypass_sum = bypass_sum + states[state][1]
            else:
                bypass_sum = self._gated_bypass_sum(state - 1, states, mixing.gates_E)
            mixed = self.partial.mixed
            node, total = torch.split(total, [mixed, total.shape[1] - mixed], dim=1)
            states.append(self.partial.join(node, bypass_sum))
        return torch.cat([half for state in states[2:] for half in state], dim=1)

    def _gated_bypass_sum(
        self, node: int, states: list[tuple[Tensor, Tensor]], gates_E: Tensor
    ) -> Tensor:
        gates = gates_E[edge_index(node, 0) : edge_index(node + 1, 0)]
        gated = [gate * bypass for gate, (_, bypass) in zip(gates, states, strict=True)]
        return torch.stack(gated).sum(0)

"""Compute a cell of the DARTS supernet: two inputs, four nodes, and channels that bypass them.

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

from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.edge_mixing import PartialChannels
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.networks.blocks.stacked import (
    Convolution,
    FactorisedReduce,
    Kernels,
    Pointwise,
    as_images,
    as_rows,
    convolve_and_norm,
)
from nasrun.networks.darts.edges import EDGES_OF_STATE, NUM_NODES, CellMixing, StateEdges
from nasrun.protocols.space import Statistics


class Preprocess(nn.Module):
    """A layer that brings a rectified cell output to C channels, at half the size if `halve`."""

    def __init__(
        self, channels_in: int, channels: int, halve: bool, layers: Layers = IMAGES
    ) -> None:
        super().__init__()
        self.convolve: Pointwise | FactorisedReduce = (
            FactorisedReduce(1, channels_in, channels, layers)
            if halve
            else Pointwise(channels_in, channels)
        )
        self.norm = BatchNorm(channels)

    def pairs(self) -> list[tuple[Convolution, BatchNorm]]:
        """List each convolution with its batch norm."""
        return [(self.convolve, self.norm)]

    def forward(self, images_BCHW: Tensor, kernels: Kernels, statistics: Statistics) -> Tensor:
        return convolve_and_norm(images_BCHW, self.convolve, self.norm, kernels, statistics)


@dataclass(frozen=True)
class CellInput:
    """A state that a cell reads, and `outputs_RQ`, its edges' outputs, where these are at hand."""

    mixed_BMHW: Tensor
    bypass_BCHW: Tensor
    outputs_RQ: Tensor | None = None


class Cell(nn.Module):
    """Two input states and four nodes; a node sums the mixtures of all states before it.

    `rectified` says that the nodes are returned after ReLU, the only form in which later cells read
    them.
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
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        self.stride, self.rectified = stride, rectified
        self.inputs = nn.ModuleList(inputs)
        self.partial = PartialChannels(
            channels, partial_channels, num_inputs=len(inputs), num_nodes=NUM_NODES
        )
        self.states = nn.ModuleList(
            StateEdges(
                edges,
                operations,
                built_EO,
                self.partial.mixed,
                stride if state < 2 else 1,
                layers,
            )
            for state, edges in enumerate(EDGES_OF_STATE)
        )

    def read(self, number: int, images_BCHW: Tensor, mixing: CellMixing) -> CellInput:
        """Return the state that input `number` becomes; the images are rectified already."""
        images_BCHW = self.inputs[number](images_BCHW, mixing.kernels, mixing.statistics)
        return CellInput(*self.partial.split(images_BCHW, self.stride))

    def forward(self, inputs: Sequence[CellInput], mixing: CellMixing) -> Tensor:
        """Return the four nodes side by side, B(4*C)HW, from both inputs."""
        like_BCHW = inputs[0].bypass_BCHW
        bypasses = [as_rows(one.bypass_BCHW) for one in inputs]
        # Without gates every node adds up both bypasses alike, so their sum is all that is needed.
        gated = mixing.gates_E is not None
        known_RQ = torch.cat(bypasses, dim=1) if gated else bypasses[0] + bypasses[1]
        before, after = (self._from_input(*numbered, mixing) for numbered in enumerate(inputs))
        total = before + after  # rows, the sums of the nodes to come
        mixed, states = self.partial.mixed, cast(list[StateEdges], list(self.states))
        for node, edges in enumerate(states[len(inputs) :]):
            # The columns of `total` are the nodes not yet complete. The first of them has received
            # from all states before it; as a state it then adds to the others.
            mixture, total = torch.split(total, [mixed, total.shape[1] - mixed], dim=1)
            known_RQ = torch.cat([known_RQ, mixture], dim=1)
            state_BMHW = as_images(self.partial.state(node, known_RQ, mixing.paths), like_BCHW)
            total = total + edges(state_BMHW, mixing.states[len(inputs) + node], mixing)
        rows = self.partial.nodes(torch.cat([known_RQ, total], dim=1), mixing.paths)
        return as_images(F.relu(rows, inplace=True) if self.rectified else rows, like_BCHW)

    def _from_input(self, number: int, read: CellInput, mixing: CellMixing) -> Tensor:
        """Return what the nodes receive from an input, rows_R(4*M)."""
        edges, weights = cast(StateEdges, self.states[number]), mixing.states[number]
        if read.outputs_RQ is not None:
            return read.outputs_RQ @ edges.matrix(weights)
        rows: Tensor = edges(read.mixed_BMHW, weights, mixing)
        return rows

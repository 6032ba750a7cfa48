"""The DARTS supernet: every operation on every edge of every cell, with shared weights.

Liu et al., DARTS, 2019 (arXiv 1806.09055); partial channels: Xu et al., PC-DARTS, 2020 (arXiv
1907.05737). The textbook layout holds one module per edge and operation. This one is state-major:
all edges that leave a state read the same input, so their pools are computed once and their
convolutions are stacked in one call. Both compute the same function of the same parameters.

Shapes: B batch, C channels, H height, W width, K classes, E edges of a cell (14), O operations,
N nodes that a state feeds, R = B*H*W rows, M mixed channels (C / partial_channels) per node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.errors import closest, raise_together
from nasrun.protocols import MixingWeights, Statistics, TaskShape
from nasrun.spaces.batch_norm import BatchNorm
from nasrun.spaces.darts_edges import OPERATIONS, CellMixing, StateEdges
from nasrun.spaces.stacked import FactorisedReduce, Pointwise, as_images, as_rows
from nasrun.spaces.supernet_stems import CifarStem, ImageNetStem

NUM_NODES = 4
NUM_EDGES = 14  # node i has one edge from each of the states 0 to i + 1
CELL_TYPES = ("normal", "reduce")


def edge_index(node: int, state: int) -> int:
    """The position of the edge from `state` to `node`: 0 to 13, ordered by node, then state."""
    return node * (node + 3) // 2 + state


class Preprocess(nn.Module):
    """Brings a rectified cell output to C channels, and to half its size after a reduction."""

    def __init__(self, channels_in: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.convolve = (
            FactorisedReduce(1, channels_in, channels)
            if halve
            else Pointwise(channels_in, channels)
        )
        self.norm = BatchNorm(channels)

    def forward(self, images_BCHW: Tensor, statistics: Statistics) -> Tensor:
        normalised: Tensor = self.norm(self.convolve(images_BCHW), statistics)
        return normalised


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
            StateEdges(
                [edge_index(node, state) for node in range(max(0, state - 1), NUM_NODES)],
                operations,
                built_EO,
                self.partial.mixed,
                stride if state < 2 else 1,
            )
            for state in range(NUM_NODES + 1)
        )

    def forward(self, before_previous: Tensor, previous: Tensor, mixing: CellMixing) -> Tensor:
        """Rectified outputs of the two cells before, BCHW; returns the four nodes, B(4*C)HW."""
        inputs = [
            preprocess(images, mixing.statistics)
            for preprocess, images in zip(self.inputs, (before_previous, previous), strict=True)
        ]
        states = [self.partial.split(images, self.stride) for images in inputs]
        bypass_sum = states[0][1]
        batch, _, height, width = bypass_sum.shape
        total = bypass_sum.new_zeros(1, NUM_NODES * self.partial.mixed)
        total = total.expand(batch * height * width, -1)  # rows, the sums of the nodes to come
        for state, edges in enumerate(self.states):
            total = edges(states[state][0], total, mixing)
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


class DartsSupernet(nn.Module):
    """All DARTS architectures in one network; a `nasrun.protocols.Supernet`.

    `shape` is an image task of any size (8x8 will do); `operations` are some of `OPERATIONS`, in
    the order of the columns of the mixing weights. Only 1 / `partial_channels` of the channels
    are mixed. `stem` is "cifar", or "imagenet" for large images. `active`, cell type -> active_EO
    bool, says which operations are built (default: all). `skip_dropout` is the probability
    (P-DARTS, arXiv 1904.12760) that an element of an identity's output is dropped; it may be
    changed between calls, and applies only with "update".
    Weights are float32, initialised from torch's global generator, as is dropout.
    Raises `UsageError` for settings that fit no network.
    """

    def __init__(
        self,
        shape: TaskShape,
        operations: Sequence[str],
        *,
        channels: int,
        cells: int,
        partial_channels: int = 4,
        stem: Literal["cifar", "imagenet"] = "cifar",
        active: Mapping[str, Tensor] | None = None,
        skip_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(shape, operations, channels, cells, partial_channels, skip_dropout)
        self.operations = tuple(operations)
        self.skip_dropout = skip_dropout
        self.reductions = {cells // 3, 2 * cells // 3}
        everything = torch.ones(NUM_EDGES, len(operations), dtype=torch.bool, device="cpu")
        self.built = {
            cell_type: (everything if active is None else active[cell_type].bool().cpu())
            for cell_type in CELL_TYPES
        }
        make_stem = ImageNetStem if stem == "imagenet" else CifarStem
        self.stem = make_stem(shape.channels, channels)
        before_previous = previous = self.stem.width
        after_reduction = self.stem.halves
        self.cells = nn.ModuleList()
        for position in range(cells):
            reduction = position in self.reductions
            channels *= 2 if reduction else 1
            inputs = [
                Preprocess(before_previous, channels, halve=after_reduction),
                Preprocess(previous, channels, halve=False),
            ]
            built_EO = self.built[self._cell_type(position)].tolist()
            stride = 2 if reduction else 1
            self.cells.append(
                Cell(inputs, channels, partial_channels, stride, operations, built_EO)
            )
            before_previous, previous = previous, NUM_NODES * channels
            after_reduction = reduction
        self.classifier = nn.Linear(previous, shape.num_classes)

    def _cell_type(self, position: int) -> str:
        return "reduce" if position in self.reductions else "normal"

    def forward(
        self,
        images_BCHW: Tensor,
        weights: MixingWeights,
        *,
        gates: Mapping[str, Tensor] | None = None,
        active: Mapping[str, Tensor] | None = None,
        statistics: Statistics = "update",
    ) -> Tensor:
        """logits_BK. `weights` has weights_EO for "normal" and "reduce", `gates` gates_E, `active`
        active_EO bool, with E = 14; see `nasrun.protocols.Supernet`."""
        mixings = {
            cell_type: self._mixing(
                cell_type,
                weights[cell_type],
                None if gates is None else gates[cell_type],
                None if active is None else active[cell_type],
                statistics,
            )
            for cell_type in {self._cell_type(position) for position in range(len(self.cells))}
        }
        images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        before_previous, previous = self.stem(images_BCHW, statistics)
        for position, cell in enumerate(self.cells):
            output = cell(before_previous, previous, mixings[self._cell_type(position)])
            before_previous, previous = previous, F.relu(output)  # all that cells do with inputs
        logits_BK: Tensor = self.classifier(output.mean((2, 3)))
        return logits_BK

    def _mixing(
        self,
        cell_type: str,
        weights_EO: Tensor,
        gates_E: Tensor | None,
        active_EO: Tensor | None,
        statistics: Statistics,
    ) -> CellMixing:
        assert weights_EO.shape == (NUM_EDGES, len(self.operations))
        computed_EO = self.built[cell_type]
        if active_EO is not None:
            computed_EO = computed_EO & active_EO.cpu()
        if gates_E is not None:
            weights_EO = weights_EO * gates_E[:, None]
        if not computed_EO.all():
            weights_EO = weights_EO.where(computed_EO.to(weights_EO.device), 0)
        return CellMixing(weights_EO, gates_E, computed_EO.tolist(), statistics, self.skip_dropout)


def _check(
    shape: TaskShape,
    operations: Sequence[str],
    channels: int,
    cells: int,
    partial_channels: int,
    skip_dropout: float,
) -> None:
    """Raise a `UsageError` for all settings at once that fit no network."""
    problems = [
        f"space.operations: unknown operation '{name}', {closest(name, OPERATIONS)}"
        for name in operations
        if name not in OPERATIONS
    ]
    if not operations or len(set(operations)) < len(operations):
        problems.append(f"space.operations={list(operations)} must name operations, each once")
    if len(shape.size) != 2:
        problems.append(f"space=darts needs images, not inputs of size {shape.size}")
    for key, number in (("channels", channels), ("cells", cells)):
        if number < 1:
            problems.append(f"space.{key}={number} must be at least 1")
    if partial_channels < 1 or channels % partial_channels:
        problems.append(
            f"space.partial_channels={partial_channels} must be a divisor of "
            f"space.channels={channels}"
        )
    if not 0 <= skip_dropout < 1:
        problems.append(f"skip_dropout={skip_dropout} must be at least 0 and below 1")
    raise_together(problems)

"""The textbook DARTS supernet: one module per edge and operation, a weighted sum per edge.

Slow and obvious; the oracle for `nasrun.networks.darts.supernet`. `edge_major(supernet)` builds one
with the weights and running statistics of a fast supernet.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.stacked import FactorisedReduce
from nasrun.networks.darts.cell import Preprocess
from nasrun.networks.darts.edges import Convolutions, StateEdges
from nasrun.networks.darts.supernet import DartsSupernet
from nasrun.protocols.space import Mixture


class Norm(nn.BatchNorm2d):
    """Batch norm whose statistics follow the network's `statistics` attribute."""

    statistics = "update"

    def forward(self, images: Tensor) -> Tensor:
        if self.statistics == "update":
            return super().forward(images)
        if self.statistics == "batch":
            return F.batch_norm(images, None, None, self.weight, self.bias, training=True)
        return F.batch_norm(images, self.running_mean, self.running_var, self.weight, self.bias)


def norm(channels: int) -> Norm:
    return Norm(channels, affine=False)


class Reduce(nn.Module):
    """Two 1x1 convolutions of stride 2; the second starts one pixel further in both directions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.norm = norm(channels_out)

    def forward(self, images: Tensor) -> Tensor:
        images = F.relu(images)
        shifted = F.pad(images, (0, images.shape[3] % 2, 0, images.shape[2] % 2))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.first(images), self.second(shifted)], dim=1))


def depthwise_pointwise(
    channels: int, kernel_size: int, stride: int, dilation: int
) -> list[nn.Module]:
    padding = dilation * (kernel_size - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels,
            channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=channels,
            bias=False,
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        norm(channels),
    ]


def operation(name: str, channels: int, stride: int) -> nn.Module | None:
    if name == "none":
        return None
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, padding=1), norm(channels))
    if name == "avg_pool_3x3":
        pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        return nn.Sequential(pool, norm(channels))
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Reduce(channels, channels)
    kernel_size = int(name[-1])
    if name.startswith("dil"):
        return nn.Sequential(*depthwise_pointwise(channels, kernel_size, stride, 2))
    return nn.Sequential(
        *depthwise_pointwise(channels, kernel_size, stride, 1),
        *depthwise_pointwise(channels, kernel_size, 1, 1),
    )


class MixedEdge(nn.Module):
    """PC-DARTS: mix the first channels, let the others pass, concatenate and shuffle."""

    def __init__(self, channels: int, stride: int, names: tuple[str, ...], partial: int) -> None:
        super().__init__()
        self.partial, self.stride, self.mixed = partial, stride, channels // partial
        self.names = names
        operations = {name: operation(name, self.mixed, stride) for name in names}
        self.operations = nn.ModuleDict({n: module for n, module in operations.items() if module})

    def forward(self, images: Tensor, weights_O: Tensor) -> Tensor:
        first, rest = images[:, : self.mixed], images[:, self.mixed :]
        mixture = torch.zeros_like(first[:, :, :: self.stride, :: self.stride])
        for weight, name in zip(weights_O, self.names, strict=True):
            if name in self.operations:
                mixture = mixture + weight * self.operations[name](first)
        if self.partial == 1:
            return mixture
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        images = torch.cat([mixture, rest], dim=1)
        batch, channels, height, width = images.shape
        groups = images.view(batch, self.partial, channels // self.partial, height, width)
        return groups.transpose(1, 2).reshape(batch, channels, height, width)


class EdgeMajorCell(nn.Module):
    def __init__(
        self,
        channels_in: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
        names: tuple[str, ...],
        partial: int,
    ) -> None:
        super().__init__()
        before_previous, previous = channels_in
        self.preprocess = nn.ModuleList(
            [
                Reduce(before_previous, channels)
                if after_reduction
                else nn.Sequential(
                    nn.ReLU(), nn.Conv2d(before_previous, channels, 1, bias=False), norm(channels)
                ),
                nn.Sequential(
                    nn.ReLU(), nn.Conv2d(previous, channels, 1, bias=False), norm(channels)
                ),
            ]
        )
        self.edges = nn.ModuleList(
            MixedEdge(channels, 2 if reduction and state < 2 else 1, names, partial)
            for node in range(4)
            for state in range(node + 2)
        )

    def forward(
        self,
        before_previous: Tensor,
        previous: Tensor,
        weights_EO: Tensor,
        gates_E: Tensor | None,
    ) -> Tensor:
        states = [self.preprocess[0](before_previous), self.preprocess[1](previous)]
        edge = 0
        for node in range(4):
            outputs = []
            for state in range(node + 2):
                output = self.edges[edge](states[state], weights_EO[edge])
                outputs.append(output if gates_E is None else gates_E[edge] * output)
                edge += 1
            states.append(sum(outputs[1:], outputs[0]))
        return torch.cat(states[2:], dim=1)


class EdgeMajorSupernet(nn.Module):
    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        names: tuple[str, ...],
        channels: int,
        cells: int,
        partial: int,
    ) -> None:
        super().__init__()
        self.reductions = [cells // 3, 2 * cells // 3]
        before_previous = previous = 3 * channels
        self.stem = nn.Sequential(
            nn.Conv2d(input_channels, previous, 3, padding=1, bias=False), Norm(previous)
        )
        self.cells = nn.ModuleList()
        after_reduction = False
        for position in range(cells):
            reduction = position in self.reductions
            if reduction:
                channels *= 2
            self.cells.append(
                EdgeMajorCell(
                    (before_previous, previous),
                    channels,
                    reduction,
                    after_reduction,
                    names,
                    partial,
                )
            )
            before_previous, previous, after_reduction = previous, 4 * channels, reduction
        self.classifier = nn.Linear(previous, num_classes)

    def forward(
        self,
        images: Tensor,
        mixture: Mixture,
        *,
        statistics: str = "update",
    ) -> Tensor:
        for module in self.modules():
            if isinstance(module, Norm):
                module.statistics = statistics
        before_previous = previous = self.stem(images)
        for position, cell in enumerate(self.cells):
            kind = "reduce" if position in self.reductions else "normal"
            gates_E = None if mixture.gates is None else mixture.gates[kind]
            output = cell(before_previous, previous, mixture.weights[kind], gates_E)
            before_previous, previous = previous, output
        return self.classifier(previous.mean((2, 3)))


# ---------------------------------------------------------------- weights of the fast supernet


def edge_major(supernet: DartsSupernet) -> EdgeMajorSupernet:
    """The oracle with the weights and statistics of `supernet`: copies, same dtype and device."""
    partial = supernet.cells[0].partial
    oracle = EdgeMajorSupernet(
        supernet.stem.convolution.in_channels,
        supernet.classifier.out_features,
        supernet.operations,
        supernet.stem.convolution.out_channels // 3,
        len(supernet.cells),
        partial.channels // partial.mixed,
    ).to(supernet.stem.convolution.weight)
    with torch.no_grad():
        for target, tensor in pairs(oracle, supernet):
            target.copy_(tensor)
    return oracle


def pairs(
    oracle: EdgeMajorSupernet, fast: DartsSupernet, gradients: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """Every tensor of the oracle (buffers too) beside the slice of the fast one's that it equals.

    With `gradients`, the gradients of the parameters instead (buffers are left out). An operation
    that the fast supernet has not built is left out.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def pair(target: Tensor, source: Tensor, index: object = ...) -> None:
        if gradients:
            if source.requires_grad and target.grad is not None and source.grad is not None:
                found.append((target.grad, source.grad[index].view_as(target)))
        else:
            found.append((target, source.detach()[index].view_as(target)))

    def pair_norm(target: Norm, source: BatchNorm, index: object = ...) -> None:
        pair(target.running_mean, source.running_mean_EC, index)
        pair(target.running_var, source.running_var_EC, index)
        if target.affine:
            pair(target.weight, source.weight_EC)
            pair(target.bias, source.bias_EC)

    def pair_reduce(target: Reduce, source: FactorisedReduce, index: int = 0) -> None:
        half = source.weight_EOI.shape[1] // 2
        pair(target.first.weight, source.weight_EOI, (index, slice(half)))
        pair(target.second.weight, source.weight_EOI, (index, slice(half, None)))

    def pair_stack(target: nn.Module, source: Convolutions, row: int) -> None:
        if isinstance(target, Reduce):
            pair_reduce(target, source.convolutions[0], row)
            pair_norm(target.norm, source.norms[0], row)
            return
        for part, convolve in enumerate(source.convolutions):
            _, depthwise, pointwise, target_norm = target[4 * part : 4 * part + 4]
            pair(depthwise.weight, convolve.depthwise_ECKK, row)
            pair(pointwise.weight, convolve.pointwise_EOI, row)
            pair_norm(target_norm, source.norms[part], row)

    def pair_edges(cell: EdgeMajorCell, source: StateEdges) -> None:
        for name, nodes in source.built.items():
            for row, node in enumerate(nodes):
                target = cell.edges[source.edges[node]].operations[name]
                if name in source.pools:
                    pair_norm(target[1], source.pool_norm, list(source.pools).index(name))
                elif name in source.stacks:
                    pair_stack(target, source.stacks[name], row)

    def pair_preprocess(target: nn.Module, source: Preprocess) -> None:
        if isinstance(target, Reduce):
            pair_reduce(target, source.convolve)
            pair_norm(target.norm, source.norm)
        else:
            pair(target[1].weight, source.convolve.weight_OI)
            pair_norm(target[2], source.norm)

    pair(oracle.stem[0].weight, fast.stem.convolution.weight)
    pair_norm(oracle.stem[1], fast.stem.norm)
    for target_cell, source_cell in zip(oracle.cells, fast.cells, strict=True):
        for target, source in zip(target_cell.preprocess, source_cell.inputs, strict=True):
            pair_preprocess(target, source)
        for source_edges in source_cell.states:
            pair_edges(target_cell, source_edges)
    pair(oracle.classifier.weight, fast.classifier.weight)
    pair(oracle.classifier.bias, fast.classifier.bias)
    return found

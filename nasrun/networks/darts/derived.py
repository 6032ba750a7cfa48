"""Build the network of a DARTS or NASNet genotype, on images or signals, to be trained.

Source: Liu et al. 2019, arXiv 1806.09055, whose code builds both alike.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotypes.darts import reductions
from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.genotypes.pairs import nodes_of, output_of
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.networks.blocks.operations import (
    FactorisedReduce,
    drop_paths,
    make_operation,
    pointwise,
)
from nasrun.protocols.data import TaskShape

STEM_MULTIPLIER = 3  # the CIFAR stem is so many times as wide as the first cell


class DartsCell(nn.Module):
    """A cell: it reads the outputs of the two cells before it and joins states as its output.

    `halve_first` says that the older input has twice the size of the other one.
    """

    def __init__(
        self,
        cell: Cell,
        channels_before_previous: int,
        channels_previous: int,
        channels: int,
        *,
        reduction: bool,
        halve_first: bool,
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        # Both inputs are brought to the same size and width, so that a node can add them up.
        self.prepare_first = (
            FactorisedReduce(channels_before_previous, channels, layers)
            if halve_first
            else pointwise(channels_before_previous, channels)
        )
        self.prepare_second = pointwise(channels_previous, channels)
        # Two for each node, in the order of the nodes; `forward` counts on it.
        self.edges = [edge for node in nodes_of(cell) for edge in cell.edges_into(node)]
        self.operations = nn.ModuleList(
            # a reduction cell halves what comes from its inputs; the nodes have the smaller size
            make_operation(
                edge.operation, channels, 2 if reduction and edge.source < 2 else 1, layers
            )
            for edge in self.edges
        )
        self.concat = [edge.source for edge in cell.edges_into(output_of(cell))]

    def forward(
        self, before_previous_BCHW: Tensor, previous_BCHW: Tensor, drop_path: float
    ) -> Tensor:
        states = [self.prepare_first(before_previous_BCHW), self.prepare_second(previous_BCHW)]
        pairs = list(zip(self.edges, self.operations, strict=True))
        for first in range(0, len(pairs), 2):
            outputs = []
            for edge, operation in pairs[first : first + 2]:
                output_BCHW = operation(states[edge.source])
                # As in the code of DARTS, an identity is never dropped. A skip that halves the size
                # has weights, and is.
                if not isinstance(operation, nn.Identity):
                    output_BCHW = drop_paths(output_BCHW, drop_path)
                outputs.append(output_BCHW)
            states.append(outputs[0] + outputs[1])
        return torch.cat([states[state] for state in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    """A second classifier, two thirds up the network.

    The CIFAR head was made for 8x8 maps and the ImageNet head, which has a shorter stride and no
    second batch norm, for 7x7; larger maps are averaged.
    """

    STRIDES = {"cifar": 3, "imagenet": 2}  # noqa: RUF012 - a constant

    def __init__(
        self,
        channels: int,
        num_classes: int,
        stem: Literal["cifar", "imagenet"],
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(layers.window(5), stride=self.STRIDES[stem], count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, layers.window(2), bias=False),
            nn.BatchNorm2d(768) if stem == "cifar" else nn.Identity(),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.classifier(self.features(images_BCHW).mean((2, 3)))
        return logits_BK

    @classmethod
    def fits(cls, size: tuple[int, ...], stem: Literal["cifar", "imagenet"]) -> bool:
        """Return whether the pool leaves the 2x2 pixels that the second convolution needs."""
        return min(size) >= 5 + cls.STRIDES[stem]


class CifarStem(nn.Module):
    """A 3x3 convolution; both states are its output."""

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        kernel = nn.Conv2d(
            channels_in, channels, layers.window(3), padding=layers.margin(3), bias=False
        )
        self.layers = nn.Sequential(kernel, nn.BatchNorm2d(channels))

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        state_BCHW = self.layers(images_BCHW)
        return state_BCHW, state_BCHW


class ImageNetStem(nn.Module):
    """Three 3x3 convolutions of stride 2; the states are the outputs of the last two."""

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()

        def convolution(channels_in: int, channels: int) -> list[nn.Module]:
            window, margin = layers.window(3), layers.margin(3)
            kernel = nn.Conv2d(channels_in, channels, window, 2, margin, bias=False)
            return [kernel, nn.BatchNorm2d(channels)]

        self.first = nn.Sequential(
            *convolution(channels_in, max(1, channels // 2)),
            nn.ReLU(),
            # no ReLU behind it: every cell begins with one
            *convolution(max(1, channels // 2), channels),
        )
        self.second = nn.Sequential(nn.ReLU(), *convolution(channels, channels))

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        first_BCHW = self.first(images_BCHW)
        return first_BCHW, self.second(first_BCHW)


class DartsNetwork(nn.Module):
    """The network of a genotype. `forward` returns logits_BK.

    Args:
        genotype: a valid genotype of the DARTS or the NASNet space, or of their like on signals.
        channels, cells: width of the first cell and number of cells; those at one and two thirds
            are reduction cells.
        auxiliary: whether to add an auxiliary head, where the map two thirds up is large enough.
        stem: "imagenet" divides the size of the inputs by 8 before the first cell.
        layers: those for images, or those for signals.

    Raises:
        UsageError: the inputs are of the other kind.
    """

    def __init__(
        self,
        genotype: Genotype,
        shape: TaskShape,
        *,
        channels: int,
        cells: int,
        auxiliary: bool,
        stem: Literal["cifar", "imagenet"],
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        layers.require(shape, genotype.space)
        self.layers = layers
        self.drop_path = 0.0
        # The maps of a cell are smaller than the images by 2 to this power.
        num_halvings = 3 if stem == "imagenet" else 0
        width = channels if stem == "imagenet" else STEM_MULTIPLIER * channels
        make_stem = ImageNetStem if stem == "imagenet" else CifarStem
        self.stem = make_stem(shape.channels, width, layers)
        self.cells = nn.ModuleList()
        self.auxiliary_head: AuxiliaryHead | None = None
        self.auxiliary_position = 2 * cells // 3
        # The first state of the ImageNet stem has twice the size of its second one.
        before_previous, previous, halve_first = width, width, stem == "imagenet"
        for position in range(cells):
            reduction = position in reductions(cells)
            # As in DARTS: half the height and width, twice the channels.
            channels *= 2 if reduction else 1
            num_halvings += reduction
            cell = DartsCell(
                genotype.cell("reduce" if reduction else "normal"),
                before_previous,
                previous,
                channels,
                reduction=reduction,
                halve_first=halve_first,
                layers=layers,
            )
            self.cells.append(cell)
            halve_first = reduction
            before_previous, previous = previous, len(cell.concat) * channels
            if position == self.auxiliary_position and auxiliary:
                # Convolutions of stride 2 round odd sizes up.
                size = tuple(-(-length // 2**num_halvings) for length in shape.size)
                if AuxiliaryHead.fits(size, stem):
                    self.auxiliary_head = AuxiliaryHead(previous, shape.num_classes, stem, layers)
        self.classifier = nn.Linear(previous, shape.num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK, _ = self._run(images_BCHW, auxiliary=False)
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits_BK, and those of the auxiliary head where there is one."""
        return self._run(images_BCHW, auxiliary=True)

    def _run(self, images_BCHW: Tensor, auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        """Return logits_BK, and the auxiliary head's if asked for; drop paths only in training."""
        drop_path = self.drop_path if self.training else 0.0
        auxiliary_BK = None
        before_previous_BCHW, previous_BCHW = self.stem(self.layers.maps(images_BCHW))
        for position, cell in enumerate(self.cells):
            output_BCHW = cell(before_previous_BCHW, previous_BCHW, drop_path)
            before_previous_BCHW, previous_BCHW = previous_BCHW, output_BCHW
            if auxiliary and position == self.auxiliary_position and self.auxiliary_head:
                auxiliary_BK = self.auxiliary_head(output_BCHW)
        features_BC = F.adaptive_avg_pool2d(previous_BCHW, 1).flatten(1)
        logits_BK: Tensor = self.classifier(features_BC)
        return logits_BK, auxiliary_BK

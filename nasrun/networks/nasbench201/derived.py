"""Build the macro skeleton of NAS-Bench-201 and the network of one genotype.

The skeleton serves images and signals. Source: Dong, Yang, ICLR 2020.

Stem, three stages of N cells with C, 2C and 4C channels, a residual block of stride 2 between
stages, global average pool, linear classifier. Shapes: B batch, C channels, H height, W width,
K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import KERNEL_SIZES, NUM_STAGES
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.networks.blocks.operations import drop_paths
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Statistics


def average_pool(images_BCHW: Tensor) -> Tensor:
    """Average each 3x3 window at stride 1, without the padding."""
    return F.avg_pool2d(images_BCHW, 3, stride=1, padding=1, count_include_pad=False)


class Convolution(nn.Module):
    """ReLU, convolution without bias, affine batch norm."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        window, margin = layers.window(kernel_size), layers.margin(kernel_size)
        self.convolution = nn.Conv2d(channels_in, channels, window, stride, margin, bias=False)
        self.norm = BatchNorm(channels, affine=True)

    def forward(self, images_BCHW: Tensor, statistics: Statistics) -> Tensor:
        output_BCHW: Tensor = self.norm(self.convolution(F.relu(images_BCHW)), statistics)
        return output_BCHW


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside an average pool and a 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        self.halves = layers.window(2)
        self.first = Convolution(channels_in, channels, 3, 2, layers)
        self.second = Convolution(channels, channels, 3, 1, layers)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, images_BCHW: Tensor, statistics: Statistics) -> Tensor:
        # Rounding up gives both branches one size for odd images, of which the benchmark has none.
        halved_BCHW = F.avg_pool2d(
            images_BCHW, self.halves, ceil_mode=True, count_include_pad=False
        )
        output_BCHW: Tensor = self.second(self.first(images_BCHW, statistics), statistics)
        return output_BCHW + self.shortcut(halved_BCHW)


class Skeleton(nn.Module):
    """The network around the cells of `space`, which `make_cell(channels)` builds.

    Raises:
        UsageError: the inputs are not what the layers are for.
    """

    def __init__(
        self,
        shape: TaskShape,
        channels: int,
        cells: int,
        make_cell: Callable[[int], nn.Module],
        *,
        layers: Layers = IMAGES,
        space: str = "nasbench201",
    ) -> None:
        super().__init__()
        layers.require(shape, space)
        self.layers = layers
        window, margin = layers.window(3), layers.margin(3)
        self.stem = nn.Conv2d(shape.channels, channels, window, padding=margin, bias=False)
        self.stem_norm = BatchNorm(channels, affine=True)
        widths = [channels * 2**stage for stage in range(NUM_STAGES)]
        self.reductions = nn.ModuleList(
            ResidualBlock(width // 2, width, layers) for width in widths[1:]
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(make_cell(width) for _ in range(cells)) for width in widths
        )
        self.last_norm = BatchNorm(widths[-1], affine=True)
        self.classifier = nn.Linear(widths[-1], shape.num_classes)

    def logits(
        self, images_BCHW: Tensor, statistics: Statistics, *cell_arguments: object
    ) -> Tensor:
        """Return logits_BK; signals are images of one row already.

        Each cell is called with the images, `statistics` and `cell_arguments`.
        """
        state_BCHW: Tensor = self.stem_norm(self.stem(images_BCHW), statistics)
        for number, stage in enumerate(self.stages):
            if number > 0:
                state_BCHW = self.reductions[number - 1](state_BCHW, statistics)
            assert isinstance(stage, nn.ModuleList)
            for cell in stage:
                state_BCHW = cell(state_BCHW, statistics, *cell_arguments)
        features_BC = F.relu(self.last_norm(state_BCHW, statistics)).mean((2, 3))
        logits_BK: Tensor = self.classifier(features_BC)
        return logits_BK


class NasBench201Cell(nn.Module):
    """One cell of a genotype. All its convolutions exist, even those that no signal reaches."""

    def __init__(self, genotype: Genotype, channels: int) -> None:
        super().__init__()
        self.edges = tuple(e for e in genotype.cell("cell").edges if e.operation != "none")
        self.num_nodes = len(genotype.cell("cell").nodes)
        self.convolutions = nn.ModuleDict(
            {
                f"{edge.source}_{edge.target}": Convolution(
                    channels, channels, KERNEL_SIZES[edge.operation]
                )
                for edge in self.edges
                if edge.operation in KERNEL_SIZES
            }
        )

    def forward(self, images_BCHW: Tensor, statistics: Statistics, drop_path: float) -> Tensor:
        states = [images_BCHW]
        for node in range(1, self.num_nodes):
            total_BCHW = images_BCHW.new_zeros(()).expand_as(images_BCHW)
            for edge in self.edges:
                if edge.target != node:
                    continue
                source_BCHW = states[edge.source]
                if edge.operation == "skip_connect":
                    total_BCHW = total_BCHW + source_BCHW
                    continue
                if edge.operation == "avg_pool_3x3":
                    output_BCHW = average_pool(source_BCHW)
                else:
                    convolution = self.convolutions[f"{edge.source}_{edge.target}"]
                    output_BCHW = convolution(source_BCHW, statistics)
                total_BCHW = total_BCHW + drop_paths(output_BCHW, drop_path)
            states.append(total_BCHW)
        return states[-1]


class NasBench201Network(Skeleton):
    """The network of a genotype as the benchmark trains it. `forward` returns logits_BK."""

    def __init__(self, genotype: Genotype, shape: TaskShape, *, channels: int, cells: int) -> None:
        super().__init__(shape, channels, cells, lambda width: NasBench201Cell(genotype, width))
        self.drop_path = 0.0  # the benchmark has none; the trainer sets it where a recipe asks

    def forward(self, images_BCHW: Tensor) -> Tensor:
        statistics: Statistics = "update" if self.training else "running"
        return self.logits(images_BCHW, statistics, self.drop_path if self.training else 0.0)

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the skeleton has one head."""
        return self(images_BCHW), None

"""Build a network of NAS-Bench-Macro: a stem, eight blocks in three stages, a last convolution.

The blocks are those of MobileNetV2 with ReLU. Shapes: B batch, C channels, H height, W width, K
classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nasrun.errors import UsageError
from nasrun.genotypes.nasbench_macro import EXPANSION_AND_KERNEL, LAST, Block, plan
from nasrun.protocols.data import TaskShape


def convolution(
    channels_in: int, channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution without bias, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(
            channels_in, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(channels),
    )


class InvertedResidual(nn.Module):
    """Expand, convolve each channel alone, project; a skip where the shape stays the same."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        expansion, kernel = EXPANSION_AND_KERNEL[block.digit]
        hidden = block.before * expansion
        self.layers = nn.Sequential(
            *convolution(block.before, hidden),
            nn.ReLU(),
            *convolution(hidden, hidden, kernel, stride=block.stride, groups=hidden),
            nn.ReLU(),
            *convolution(hidden, block.after),
        )
        self.has_skip = block.stride == 1

    def forward(self, state_BCHW: Tensor) -> Tensor:
        out_BCHW: Tensor = self.layers(state_BCHW)
        return out_BCHW + state_BCHW if self.has_skip else out_BCHW


class NasBenchMacroNetwork(nn.Module):
    """The network of eight digits. `forward` returns logits_BK.

    Args:
        digits: of the blocks, from the input on.
        channels: of the stem, 32 in the benchmark.

    Raises:
        UsageError: the inputs are not images.
    """

    def __init__(self, digits: Sequence[int], shape: TaskShape, *, channels: int) -> None:
        super().__init__()
        if len(shape.size) != 2:
            raise UsageError(
                f"space=nasbench_macro needs images, and the inputs of this dataset have the size "
                f"{shape.size}: choose a dataset of images"
            )
        self.drop_path = 0.0  # no block is dropped; a recipe may set it
        self.stem = nn.Sequential(*convolution(shape.channels, channels, 3), nn.ReLU())
        blocks = list[nn.Module]()
        for block in plan(digits, channels):
            if block.digit:
                blocks.append(InvertedResidual(block))
            elif block.stride > 1:  # of another shape, so that it has weights
                blocks.append(convolution(block.before, block.after, stride=block.stride))
        width = plan(digits, channels)[-1].after
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*convolution(width, LAST * channels), nn.ReLU())
        self.classifier = nn.Linear(LAST * channels, shape.num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        state_BCHW: Tensor = self.last(self.blocks(self.stem(images_BCHW)))
        logits_BK: Tensor = self.classifier(state_BCHW.mean((2, 3)))
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the network has one head."""
        return self(images_BCHW), None

"""Build the plain network of a macro_cnn genotype: blocks of equal convolutions and a pool.

Stem, blocks, global average pool, linear classifier. A block is a chain of convolutions, each with
batch norm and ReLU; a skip adds what enters the chain to what leaves it, before the last ReLU.
Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nasrun.errors import UsageError
from nasrun.genotypes.macro_cnn import Block, Plan
from nasrun.networks.blocks.operations import drop_paths
from nasrun.protocols.data import TaskShape


def convolution(channels_in: int, channels: int, kernel_size: int) -> nn.Sequential:
    """Build a convolution without bias, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


class MacroBlock(nn.Module):
    """A block; maps of odd size are rounded up, so that any image goes through any network."""

    def __init__(self, block: Block, channels_in: int, channels: int) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * (block.depth - 1)
        self.convolutions = nn.ModuleList(convolution(w, channels, block.kernel) for w in widths)
        self.skip: nn.Module | None = None
        if block.skip:
            # the sum needs one width, as in a residual network
            same = channels_in == channels
            self.skip = nn.Identity() if same else convolution(channels_in, channels, 1)
        self.pool: nn.Module
        if block.pool == "max":
            self.pool = nn.MaxPool2d(2, ceil_mode=True)
        else:
            self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)

    def forward(self, images_BCHW: Tensor, drop_path: float) -> Tensor:
        """Return images of half the height and width; `drop_path` drops chains beside a skip."""
        state_BCHW = images_BCHW
        for number, one in enumerate(self.convolutions, start=1):
            state_BCHW = one(state_BCHW)
            if number < len(self.convolutions):
                state_BCHW = functional.relu(state_BCHW)
        if self.skip is not None:
            state_BCHW = drop_paths(state_BCHW, drop_path) + self.skip(images_BCHW)
        pooled_BCHW: Tensor = self.pool(functional.relu(state_BCHW))
        return pooled_BCHW


class MacroCnnNetwork(nn.Module):
    """The network of the blocks of a plan. `forward` returns logits_BK.

    Args:
        channels: width of the stem, of which the blocks' widths are multiples.

    Raises:
        UsageError: the inputs are not images.
    """

    def __init__(self, plan: Plan, shape: TaskShape, *, channels: int) -> None:
        super().__init__()
        if len(shape.size) != 2:
            raise UsageError(
                f"space=macro_cnn needs images, and the inputs of this dataset have the size "
                f"{shape.size}: choose a dataset of images"
            )
        self.drop_path = 0.0  # set by the trainer where a recipe asks for it
        self.stem = nn.Sequential(*convolution(shape.channels, channels, 3), nn.ReLU())
        widths = [channels, *(channels * block.width for block in plan.blocks)]
        self.blocks = nn.ModuleList(
            MacroBlock(block, before, width)
            for block, before, width in zip(plan.blocks, widths, widths[1:], strict=False)
        )
        self.classifier = nn.Linear(widths[-1], shape.num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        drop_path = self.drop_path if self.training else 0.0
        state_BCHW: Tensor = self.stem(images_BCHW)
        for block in self.blocks:
            state_BCHW = block(state_BCHW, drop_path)
        logits_BK: Tensor = self.classifier(state_BCHW.mean((2, 3)))
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the network has one head."""
        return self(images_BCHW), None

"""Build the network of a NAS-Bench-101 cell.

Source: Ying et al., ICML 2019, section 2.2, and its public code.

Stem, three stacks of cells with C, 2C and 4C channels, a max pool of stride 2 between stacks,
global average pool, linear classifier. Shapes: B batch, C channels, H height, W width, K classes.

Deviation: batch norm has torch's momentum of 0.1 and weights torch's initialisation. The
benchmark's 0.003 (its 0.997) takes more updates than a short training has.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.genotypes.genotype import Cell
from nasrun.genotypes.nasbench101 import NUM_STACKS, vertex_widths
from nasrun.networks.blocks.layers import IMAGES
from nasrun.networks.blocks.operations import drop_paths
from nasrun.protocols.data import TaskShape


def convolution(channels_in: int, channels: int, kernel_size: int) -> nn.Module:
    """Build a convolution without bias, affine batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def make_operation(name: str, channels: int) -> nn.Module:
    if name == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return convolution(channels, channels, int(name[4]))


class NasBench101Cell(nn.Module):
    """A pruned cell.

    A vertex adds up its inputs, each cut to the vertex's width (the input of the cell is projected
    to it), and applies its operation. The vertices that feed the output are concatenated; the
    cell's input, where it feeds the output too, is projected and added.
    """

    def __init__(self, cell: Cell, channels_in: int, channels: int) -> None:
        super().__init__()
        self.last = len(cell.nodes) - 1
        self.sources = [[e.source for e in cell.edges_into(v)] for v in range(self.last + 1)]
        self.widths = vertex_widths(cell, channels_in, channels)
        self.projections = nn.ModuleDict(
            {
                str(target): convolution(channels_in, self.widths[target], 1)
                for target, sources in enumerate(self.sources)
                if 0 in sources
            }
        )
        self.operations = nn.ModuleDict(
            {
                str(vertex): make_operation(cell.nodes[vertex], self.widths[vertex])
                for vertex in range(1, self.last)
            }
        )

    def forward(self, images_BCHW: Tensor, drop_path: float) -> Tensor:
        states = [images_BCHW]
        for vertex in range(1, self.last):
            width = self.widths[vertex]
            # As in the benchmark's code. Widths differ, by one channel, where the vertices that
            # feed the output do not divide its channels evenly.
            inputs = [states[s][:, :width] for s in sorted(self.sources[vertex]) if s > 0]
            total_BCHW = sum(inputs[1:], inputs[0]) if inputs else None
            total_BCHW = self._with_projection(vertex, total_BCHW, images_BCHW)
            output_BCHW = self.operations[str(vertex)](total_BCHW)
            states.append(drop_paths(output_BCHW, drop_path))
        parts = [states[source] for source in sorted(self.sources[self.last]) if source > 0]
        joined_BCHW = torch.cat(parts, dim=1) if parts else None
        return self._with_projection(self.last, joined_BCHW, images_BCHW)

    def _with_projection(
        self, vertex: int, total_BCHW: Tensor | None, images_BCHW: Tensor
    ) -> Tensor:
        """Add the cell's projected input where it feeds the vertex."""
        if 0 not in self.sources[vertex]:
            assert total_BCHW is not None, "a pruned cell has no vertex without inputs"
            return total_BCHW
        projected_BCHW: Tensor = self.projections[str(vertex)](images_BCHW)
        return projected_BCHW if total_BCHW is None else total_BCHW + projected_BCHW


class NasBench101Network(nn.Module):
    """The network of a pruned cell. `forward` returns logits_BK.

    Raises:
        UsageError: the inputs are not images.
    """

    def __init__(self, cell: Cell, shape: TaskShape, *, channels: int, cells: int) -> None:
        super().__init__()
        IMAGES.require(shape, "nasbench101")
        self.drop_path = 0.0  # the benchmark has none; the trainer sets it where a recipe asks
        self.stem = convolution(shape.channels, channels, 3)
        self.stacks = nn.ModuleList()
        channels_in = channels
        for stack in range(NUM_STACKS):
            width = channels * 2**stack
            widths_in = [channels_in] + [width] * (cells - 1)
            self.stacks.append(nn.ModuleList(NasBench101Cell(cell, w, width) for w in widths_in))
            channels_in = width
        self.classifier = nn.Linear(channels_in, shape.num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        drop_path = self.drop_path if self.training else 0.0
        state_BCHW: Tensor = self.stem(images_BCHW)
        for number, stack in enumerate(self.stacks):
            if number > 0:
                state_BCHW = F.max_pool2d(state_BCHW, 2, ceil_mode=True)
            assert isinstance(stack, nn.ModuleList)
            for cell in stack:
                state_BCHW = cell(state_BCHW, drop_path)
        logits_BK: Tensor = self.classifier(state_BCHW.mean((2, 3)))
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the network has one head."""
        return self(images_BCHW), None

"""Build what stands before the first cell of a DARTS supernet.

A stem gives the two states that the first cell reads, rectified, which is all that cells do with
their inputs. Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.protocols.space import Statistics

MULTIPLIER = 3  # the CIFAR stem is so many times as wide as the first cell


class CifarStem(nn.Module):
    """A 3x3 convolution; both states are its output."""

    halves = False  # whether the second state has half the size of the first

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        self.width = MULTIPLIER * channels
        self.convolution = nn.Conv2d(
            channels_in, self.width, layers.window(3), padding=layers.margin(3), bias=False
        )
        self.norm = BatchNorm(self.width, affine=True)

    def forward(self, images_BCHW: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
        state_BCHW = F.relu(self.norm(self.convolution(images_BCHW), statistics))
        return state_BCHW, state_BCHW


class ImageNetStem(nn.Module):
    """Three 3x3 convolutions of stride 2; the states are the outputs of the last two.

    DARTS's ImageNet networks have it; PC-DARTS (arXiv 1907.05737) searches with it, too.
    """

    halves = True

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        self.width = channels
        widths = [channels_in, max(1, channels // 2), channels, channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, layers.window(3), 2, layers.margin(3), bias=False)
            for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm(width, affine=True) for width in widths[1:])

    def forward(self, images_BCHW: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
        states = [images_BCHW]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            states.append(F.relu(norm(convolution(states[-1]), statistics)))
        return states[-2], states[-1]

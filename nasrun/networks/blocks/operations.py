"""Build the operations of derived networks, with affine batch norm.

Each reads images_BCHW and returns as many channels, at half the size where `stride` is 2.
Shapes: B batch, C channels, H height, W width. Source: Liu et al. 2019 and its public code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks.blocks.convolution import Depthwise
from nasrun.networks.blocks.layers import IMAGES, Layers


def drop_paths(images_BCHW: Tensor, probability: float) -> Tensor:
    """Zero each sample with `probability` (torch's global generator), and scale up the others.

    Source: ScheduledDropPath, Zoph et al. 2018 (arXiv 1707.07012), as DARTS has it.
    """
    if probability == 0.0:
        return images_BCHW
    keep = 1.0 - probability
    mask_B111 = torch.empty_like(images_BCHW[:, :1, :1, :1]).bernoulli_(keep)
    return images_BCHW * (mask_B111 / keep)


def make_operation(name: str, channels: int, stride: int, layers: Layers = IMAGES) -> nn.Module:
    """Build the operation `name` of a genotype, whose last digit is the size of its window.

    Pooling has no batch norm in a derived network.
    """
    if name == "none":
        return Zero(stride, layers)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorisedReduce(channels, channels, layers)
    if name == "conv_7x1_1x7":
        return row_and_column(channels, 7, stride)
    size = int(name[-1])
    window, margin = layers.window(size), layers.margin(size)
    if name.startswith("max_pool"):
        return nn.MaxPool2d(window, stride, margin)
    if name.startswith("avg_pool"):
        return nn.AvgPool2d(window, stride, margin, count_include_pad=False)
    if name.startswith("dil_conv"):
        return nn.Sequential(*separable(channels, size, stride, layers, dilation=2))
    if name.startswith("sep_conv"):
        return nn.Sequential(
            *separable(channels, size, stride, layers), *separable(channels, size, 1, layers)
        )
    assert name.startswith("conv"), name
    dense = nn.Conv2d(channels, channels, window, stride, margin, bias=False)
    return nn.Sequential(nn.ReLU(), dense, nn.BatchNorm2d(channels))


class Zero(nn.Module):
    """Nothing: an edge that is left out."""

    def __init__(self, stride: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        self.stride, self.layers = stride, layers

    def forward(self, images_BCHW: Tensor) -> Tensor:
        halved = images_BCHW if self.stride == 1 else self.layers.every_second(images_BCHW)
        return torch.zeros_like(halved)


def separable(
    channels: int, kernel_size: int, stride: int, layers: Layers, dilation: int = 1
) -> list[nn.Module]:
    """List ReLU, depthwise convolution, pointwise convolution and batch norm."""
    depthwise = Depthwise(channels, kernel_size, stride, dilation, layers)
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels)]


def row_and_column(channels: int, length: int, stride: int) -> nn.Module:
    """Build ReLU, a convolution along the rows, one along the columns, and batch norm."""
    half = length // 2
    along_rows = nn.Conv2d(
        channels, channels, (1, length), (1, stride), padding=(0, half), bias=False
    )
    along_columns = nn.Conv2d(
        channels, channels, (length, 1), (stride, 1), padding=(half, 0), bias=False
    )
    return nn.Sequential(nn.ReLU(), along_rows, along_columns, nn.BatchNorm2d(channels))


def pointwise(channels_in: int, channels: int) -> nn.Module:
    """Build ReLU, a 1x1 convolution and batch norm."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels)
    )


class FactorisedReduce(nn.Module):
    """ReLU, then two 1x1 convolutions of stride 2 on even and odd pixels, side by side.

    The pixels are taken first: oneDNN 3 writes past its memory in the backward pass of a strided
    1x1 convolution of fewer than 16 channels_last channels (its issue 6035), and large maps crash.
    """

    def __init__(self, channels_in: int, channels: int, layers: Layers = IMAGES) -> None:
        super().__init__()
        self.layers = layers
        self.even = nn.Conv2d(channels_in, channels // 2, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels - channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        rectified_BCHW = F.relu(images_BCHW)
        # One more row and column of zeros gives odd sizes as many odd pixels as even ones.
        padded_BCHW = self.layers.one_longer(rectified_BCHW)
        even_BCHW = self.layers.every_second(rectified_BCHW)
        odd_BCHW = self.layers.every_second(padded_BCHW, first=1)
        halves = (self.even(even_BCHW), self.odd(odd_BCHW))
        output_BCHW: Tensor = self.norm(torch.cat(halves, dim=1))
        return output_BCHW

"""Building blocks that compute one operation for many edges at once.

All edges that leave one state of a cell read the same input, so their operations are stacked in
the channel dimension: E edges with C channels each are one tensor with E*C channels (edge-major),
and one call computes them all. `chosen` names the edges of a stack that are wanted; `None` means
all of them, which needs no indexing.

Shapes: B batch, C (or I) input channels, O output channels, H height, W width, E edges,
K kernel size, R = B*H*W rows. Tensors are channels_last, so that an image is a table of rows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.spaces.convolution import convolve

WIDEST_COMPOSED = 16
"""Composed kernels win up to this many channels per edge, separate ones above (measured, CPU)."""


def as_rows(images_BCHW: Tensor) -> Tensor:
    """images as rows_RC; a view where the images are channels_last."""
    return images_BCHW.permute(0, 2, 3, 1).reshape(-1, images_BCHW.shape[1])


def as_images(rows_RC: Tensor, like_BCHW: Tensor) -> Tensor:
    """rows as channels_last images with the batch and the spatial size of `like_BCHW`; a view."""
    batch, _, height, width = like_BCHW.shape
    return rows_RC.view(batch, height, width, rows_RC.shape[1]).permute(0, 3, 1, 2)


def _kernel(*shape: int, fan_in: int) -> nn.Parameter:
    """PyTorch's default initialisation of a convolution: uniform within 1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _choose(stack: Tensor, chosen: list[int] | None) -> Tensor:
    return stack if chosen is None else stack[chosen]


class Separable(nn.Module):
    """E depthwise convolutions, each followed by a pointwise one: one convolution call.

    Nothing happens between the two, so the pair is exactly one dense convolution, whose kernel is
    the product of both: kernel[o, i, :, :] = pointwise[o, i] * depthwise[i, :, :].
    """

    def __init__(
        self, num_edges: int, channels: int, kernel_size: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.depthwise_ECKK = _kernel(
            num_edges, channels, kernel_size, kernel_size, fan_in=kernel_size**2
        )
        self.pointwise_EOI = _kernel(num_edges, channels, channels, fan_in=channels)

    def forward(self, images_BCHW: Tensor, chosen: list[int] | None = None) -> Tensor:
        """The images have C channels, read by every edge, or E*C, a part for each edge."""
        depthwise_ECKK = _choose(self.depthwise_ECKK, chosen)
        pointwise_EOI = _choose(self.pointwise_EOI, chosen)
        num_edges, channels = pointwise_EOI.shape[:2]
        if channels > WIDEST_COMPOSED:
            if images_BCHW.shape[1] == channels:
                images_BCHW = torch.cat([images_BCHW] * num_edges, dim=1)
            depthwise = depthwise_ECKK.flatten(0, 1)[:, None]
            images_BCHW = convolve(
                images_BCHW, depthwise, self.stride, self.dilation, len(depthwise)
            )
            pointwise = pointwise_EOI.flatten(0, 1)[..., None, None]
            return F.conv2d(images_BCHW, pointwise, groups=num_edges)
        kernel = (pointwise_EOI[..., None, None] * depthwise_ECKK[:, None]).flatten(0, 1)
        groups = images_BCHW.shape[1] // channels
        return convolve(images_BCHW, kernel, self.stride, self.dilation, groups)


class Pointwise(nn.Module):
    """A 1x1 convolution without bias."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight_OI = _kernel(channels_out, channels_in, fan_in=channels_in)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return as_images(as_rows(images_BCHW) @ self.weight_OI.T, images_BCHW)


class FactorisedReduce(nn.Module):
    """E times: halves the size by two 1x1 convolutions of stride 2, the second one pixel further.

    Each gives half of the output channels; together they are one 2x2 convolution. An odd size is
    padded with zeros at the bottom and the right.
    """

    def __init__(self, num_edges: int, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight_EOI = _kernel(num_edges, channels_out, channels_in, fan_in=channels_in)

    def forward(self, images_BCHW: Tensor, chosen: list[int] | None = None) -> Tensor:
        weight_EOI = _choose(self.weight_EOI, chosen)
        upper_left, lower_right = weight_EOI[..., None, None].chunk(2, dim=1)
        kernel = torch.cat([F.pad(upper_left, (0, 1, 0, 1)), F.pad(lower_right, (1, 0, 1, 0))], 1)
        height, width = images_BCHW.shape[2:]
        if height % 2 or width % 2:
            images_BCHW = F.pad(images_BCHW, (0, width % 2, 0, height % 2))
        return F.conv2d(images_BCHW, kernel.flatten(0, 1), stride=2)


def average_pool(images_BCHW: Tensor, stride: int) -> Tensor:
    """3x3 average pooling that leaves the padding out of the average.

    As a depthwise convolution: ten times faster than `F.avg_pool2d` for few channels_last channels.
    """
    channels, height, width = images_BCHW.shape[1:]
    kernel = images_BCHW.new_ones(channels, 1, 3, 3)
    sums = F.conv2d(images_BCHW, kernel, stride=stride, padding=1, groups=channels)
    ones = images_BCHW.new_ones(1, 1, height, width)
    counts = F.conv2d(ones, kernel[:1], stride=stride, padding=1)
    return sums / counts


def max_pool(images_BCHW: Tensor, stride: int) -> Tensor:
    """3x3 max pooling."""
    return F.max_pool2d(images_BCHW, 3, stride=stride, padding=1)

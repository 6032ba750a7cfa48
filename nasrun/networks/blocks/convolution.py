"""Convolve at full or half size, in the quickest form that computes the same.

The backward pass of a dilated convolution is 2 to 7 times as slow on a CPU as that of a plain one
with as many taps. A dilation of 2 only ever joins pixels of one parity, so that it is a plain
convolution of the pixels of each parity. Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.networks.blocks.layers import IMAGES, Layers

LARGEST_SPLIT = 16
"""Maps up to this size are split by parity; in larger ones the copies cost as much (measured)."""


def convolve(
    images_BCHW: Tensor,
    kernel: Tensor,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: Tensor | None = None,
) -> Tensor:
    """Return `F.conv2d` with a kernel of odd sizes, padded so that stride 1 keeps the size."""
    half = kernel.shape[2] // 2, kernel.shape[3] // 2
    if dilation == 2 and stride == 2:  # only even pixels are ever read
        return F.conv2d(_even(images_BCHW), kernel, bias, padding=half, groups=groups)
    height, width = images_BCHW.shape[2:]
    small = height % 2 == width % 2 == 0 and max(height, width) <= LARGEST_SPLIT
    if dilation == 2 and min(half) >= 2 and small:
        parts = split_by_parity(images_BCHW)
        return join_by_parity(F.conv2d(parts, kernel, bias, padding=half, groups=groups))
    padding = dilation * half[0], dilation * half[1]
    return F.conv2d(images_BCHW, kernel, bias, stride, padding, dilation, groups)


def _even(images_BCHW: Tensor) -> Tensor:
    return images_BCHW[:, :, ::2, ::2]


def split_by_parity(images_BCHW: Tensor) -> Tensor:
    """Return the pixels by the parity of their row and column: [4B, C, H/2, W/2].

    The order is even rows and even columns, even rows and odd columns, odd rows and even columns,
    odd rows and odd columns. Height and width must be even. Images are channels_last, as in the
    rest of the network, before and after.
    """
    batch, channels, height, width = images_BCHW.shape
    rows_BHWC = images_BCHW.permute(0, 2, 3, 1)
    parts = rows_BHWC.reshape(batch, height // 2, 2, width // 2, 2, channels)
    # (row parity, column parity, B, H/2, W/2, C)
    parts = parts.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return parts.permute(0, 3, 1, 2)


def join_by_parity(parts: Tensor) -> Tensor:
    """Undo `split_by_parity`."""
    batch, channels, height, width = parts.shape
    rows = parts.permute(0, 2, 3, 1).reshape(2, 2, batch // 4, height, width, channels)
    rows = rows.permute(2, 3, 0, 4, 1, 5)
    return rows.reshape(batch // 4, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class Depthwise(nn.Conv2d):
    """A depthwise convolution without bias; see `convolve`."""

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        layers: Layers = IMAGES,
    ) -> None:
        rows, columns = layers.margin(kernel_size)
        super().__init__(
            channels,
            channels,
            layers.window(kernel_size),
            stride,
            padding=(dilation * rows, dilation * columns),
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return convolve(images_BCHW, self.weight, self.stride[0], self.dilation[0], self.groups)

"""Compute one operation for many edges at once.

All edges that leave one state of a cell read the same input, so their operations are stacked in
the channel dimension: E edges with C channels each are one tensor with E*C channels (edge-major),
and one call computes them all. `chosen` names the edges of a stack that are wanted; `None` means
all of them, which needs no indexing.

Shapes: B batch, C (or I) input channels, O output channels, H height, W width, E edges,
S the edges of several stacks, K kernel size, R = B*H*W rows. Tensors are channels_last, so that an
image is a table of rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import constant
from nasrun.networks.blocks.batch_norm import BatchNorm, Folded
from nasrun.networks.blocks.convolution import convolve
from nasrun.networks.blocks.layers import IMAGES, Layers
from nasrun.protocols.space import Statistics

WIDEST_COMPOSED = 16
"""Composed kernels win up to this many channels per edge, separate ones above (measured, CPU)."""


def as_rows(images_BCHW: Tensor) -> Tensor:
    """Return images as rows_RC; a view where the images are channels_last."""
    return images_BCHW.permute(0, 2, 3, 1).flatten(0, 2)


def as_images(rows_RC: Tensor, like_BCHW: Tensor) -> Tensor:
    """Return rows as channels_last images of the batch and size of `like_BCHW`; a view."""
    batch, _, height, width = like_BCHW.shape
    return rows_RC.view(batch, height, width, rows_RC.shape[1]).permute(0, 3, 1, 2)


def _kernel(*shape: int, fan_in: int) -> nn.Parameter:
    """Draw a kernel as PyTorch initialises one: uniform within 1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(fan_in)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _choose(stack: Tensor, chosen: list[int] | None) -> Tensor:
    return stack if chosen is None else stack.index_select(0, constant(chosen, stack.device))


class Separable(nn.Module):
    """E depthwise convolutions, each followed by a pointwise one.

    Nothing happens between the two, so the pair is exactly one dense convolution, whose kernel is
    the product of both: see `compose`.
    """

    def __init__(
        self,
        num_edges: int,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        self.channels, self.stride, self.dilation = channels, stride, dilation
        window = layers.window(kernel_size)
        self.depthwise_ECKK = _kernel(num_edges, channels, *window, fan_in=math.prod(window))
        self.pointwise_EOI = _kernel(num_edges, channels, channels, fan_in=channels)

    def forward(
        self, images_BCHW: Tensor, kernel_NIKK: Tensor, bias_N: Tensor | None = None
    ) -> Tensor:
        """Convolve images of C channels, read by every edge, or E*C, a part for each edge."""
        groups = images_BCHW.shape[1] // self.channels
        return convolve(images_BCHW, kernel_NIKK, self.stride, self.dilation, groups, bias_N)

    def apart(self, images_BCHW: Tensor, chosen: list[int] | None) -> Tensor:
        """Convolve in two calls, for kernels that are too wide to be composed."""
        pointwise_EOI = _choose(self.pointwise_EOI, chosen)
        num_edges = len(pointwise_EOI)
        if images_BCHW.shape[1] == self.channels:
            # A depthwise convolution gives each input channel its own kernel, so every edge needs a
            # copy of the channels that all of them read.
            images_BCHW = torch.cat([images_BCHW] * num_edges, dim=1)
        depthwise = _choose(self.depthwise_ECKK, chosen).flatten(0, 1)[:, None]
        images_BCHW = convolve(images_BCHW, depthwise, self.stride, self.dilation, len(depthwise))
        return F.conv2d(images_BCHW, pointwise_EOI.flatten(0, 1)[..., None, None], groups=num_edges)


class Pointwise(nn.Module):
    """A 1x1 convolution without bias."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight_OI = _kernel(channels_out, channels_in, fan_in=channels_in)

    def forward(
        self, images_BCHW: Tensor, kernel_NIKK: Tensor, bias_N: Tensor | None = None
    ) -> Tensor:
        rows = F.linear(as_rows(images_BCHW), kernel_NIKK.flatten(1), bias_N)
        return as_images(rows, images_BCHW)


class FactorisedReduce(nn.Module):
    """E times two 1x1 convolutions of stride 2, the second of which starts one pixel further.

    Each gives half of the output channels; together they are one 2x2 convolution. An odd size is
    padded with zeros at the bottom and the right.
    """

    def __init__(
        self, num_edges: int, channels_in: int, channels_out: int, layers: Layers = IMAGES
    ) -> None:
        super().__init__()
        self.num_axes = layers.num_axes
        self.weight_EOI = _kernel(num_edges, channels_out, channels_in, fan_in=channels_in)

    def kernel(self, factor_EO: Tensor | None) -> Tensor:
        """Return both convolutions as one 2x2 kernel_EOIKK, times `factor_EO` if there is one."""
        weight_EOI = _times(self.weight_EOI, factor_EO)
        upper_left, lower_right = weight_EOI[..., None, None].chunk(2, dim=1)
        # A weight at the upper left of a 2x2 kernel of stride 2 sees the pixels of even rows and
        # columns, one at the lower right those of odd ones.
        parts = [
            F.pad(upper_left, (0, 1) * self.num_axes),
            F.pad(lower_right, (1, 0) * self.num_axes),
        ]
        return torch.cat(parts, dim=1)

    def forward(
        self, images_BCHW: Tensor, kernel_NIKK: Tensor, bias_N: Tensor | None = None
    ) -> Tensor:
        height, width = images_BCHW.shape[2:]
        rows, columns = kernel_NIKK.shape[2:]  # one row of a signal stays one row
        if height % rows or width % columns:
            images_BCHW = F.pad(images_BCHW, (0, width % columns, 0, height % rows))
        return F.conv2d(images_BCHW, kernel_NIKK, bias_N, stride=2)


class Dense(nn.Module):
    """E plain convolutions that read the same images."""

    def __init__(
        self,
        num_edges: int,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        layers: Layers = IMAGES,
    ) -> None:
        super().__init__()
        self.stride = stride
        window = layers.window(kernel_size)
        fan_in = channels * math.prod(window)
        self.kernels_NMkk = _kernel(num_edges * channels, channels, *window, fan_in=fan_in)

    def of_edge(self) -> Tensor:
        """Return kernel_EOIKK, a view of the parameter."""
        return self.kernels_NMkk.view(-1, self.kernels_NMkk.shape[1], *self.kernels_NMkk.shape[1:])

    def forward(
        self, images_BCHW: Tensor, kernel_NIKK: Tensor, bias_N: Tensor | None = None
    ) -> Tensor:
        return convolve(images_BCHW, kernel_NIKK, self.stride, bias=bias_N)


Convolution = Separable | Pointwise | FactorisedReduce | Dense


@dataclass(frozen=True)
class Kernels:
    """What convolutions and batch norms need in a pass, computed in a few calls.

    `composed` has the kernel_EOIKK of every convolution, save separable ones that are too wide. If
    running statistics are `folded`, each kernel includes the factor of its batch norm.
    """

    composed: Mapping[Convolution, Tensor]
    folded: Folded


def compose(norms: Mapping[Convolution, BatchNorm], folded: Folded) -> Kernels:
    """Compose the kernels of convolutions, with the `folded` statistics of their batch norms.

    An empty `folded` leaves batch norm to the pass itself. The kernel of a separable convolution is
    kernel[e, o, i, :, :] = pointwise[e, o, i] * depthwise[e, i, :, :]; one product computes those
    of all that have one shape.
    """
    composed: dict[Convolution, Tensor] = {}
    by_shape = defaultdict(list)
    for convolution, norm in norms.items():
        # Batch norm with running statistics is `factor * x + shift`; the factor can be taken into
        # the kernel, the shift becomes the bias (see `convolve_and_norm`).
        factor_EO = folded[norm][0] if folded else None
        if isinstance(convolution, FactorisedReduce):
            composed[convolution] = convolution.kernel(factor_EO)
        elif isinstance(convolution, Pointwise):
            weight_EOI = _times(convolution.weight_OI[None], factor_EO)
            composed[convolution] = weight_EOI[..., None, None]
        elif isinstance(convolution, Dense):
            kernel_EOIKK = convolution.of_edge()
            if factor_EO is not None:
                kernel_EOIKK = kernel_EOIKK * factor_EO[..., None, None, None]
            composed[convolution] = kernel_EOIKK
        elif convolution.channels <= WIDEST_COMPOSED:
            # later, all of one shape together; wider ones stay out, see WIDEST_COMPOSED
            by_shape[convolution.depthwise_ECKK.shape[1:]].append(convolution)
    for alike in by_shape.values():
        depthwise_SCKK = torch.cat([separable.depthwise_ECKK for separable in alike])
        pointwise_SOI = torch.cat([separable.pointwise_EOI for separable in alike])
        if folded:
            factor_SO = torch.cat([folded[norms[separable]][0] for separable in alike])
            pointwise_SOI = _times(pointwise_SOI, factor_SO)
        # (S, O, I, 1, 1) * (S, 1, I, K, K); I and C are the same channels
        composed_SOIKK = pointwise_SOI[..., None, None] * depthwise_SCKK[:, None]
        parts = torch.split(composed_SOIKK, [len(one.pointwise_EOI) for one in alike])
        composed.update(zip(alike, parts, strict=True))
    return Kernels(composed, folded)


def _times(weight_EOI: Tensor, factor_EO: Tensor | None) -> Tensor:
    """Scale the output channels by a factor, if there is one."""
    return weight_EOI if factor_EO is None else weight_EOI * factor_EO[..., None]


def convolve_and_norm(
    images_BCHW: Tensor,
    convolution: Convolution,
    norm: BatchNorm,
    kernels: Kernels,
    statistics: Statistics,
    *,
    chosen: list[int] | None = None,
    scale_N: Tensor | None = None,
) -> Tensor:
    """Apply a convolution and its batch norm, on all or the `chosen` edges; see `BatchNorm`.

    Running statistics fold into the kernel, so that batch norm costs no pass over the images.
    """
    kernel_EOIKK = kernels.composed.get(convolution)
    if kernel_EOIKK is None:
        assert isinstance(convolution, Separable)
        images_BCHW = convolution.apart(images_BCHW, chosen)
        return norm(images_BCHW, statistics, chosen=chosen, scale_N=scale_N)
    kernel_NIKK = _choose(kernel_EOIKK, chosen).flatten(0, 1)
    if statistics == "running":
        bias_N = _choose(kernels.folded[norm][1], chosen).flatten()
        if scale_N is not None:
            # The mixing weight scales what batch norm returns, hence also its shift.
            kernel_NIKK, bias_N = kernel_NIKK * scale_N[:, None, None, None], bias_N * scale_N
        return convolution(images_BCHW, kernel_NIKK, bias_N)
    images_BCHW = convolution(images_BCHW, kernel_NIKK)
    return norm(images_BCHW, statistics, chosen=chosen, scale_N=scale_N)


class AveragePool(nn.Module):
    """3x3 average pooling that leaves the padding out of the average.

    On a CPU it is a depthwise convolution: ten times faster than `F.avg_pool2d` for few
    channels_last channels.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self._constants: dict[object, tuple[Tensor, Tensor]] = {}

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if not images_BCHW.is_cpu:
            return F.avg_pool2d(images_BCHW, 3, self.stride, padding=1, count_include_pad=False)
        kernel, counts_HW = self._of(images_BCHW)
        channels = images_BCHW.shape[1]
        sums_BCHW = F.conv2d(images_BCHW, kernel, None, self.stride, 1, groups=channels)
        return sums_BCHW.div_(counts_HW)

    def _of(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return a kernel of ones and the pixels behind each average; made once for a shape."""
        channels, *size = images_BCHW.shape[1:]
        key = (channels, *size, images_BCHW.dtype, images_BCHW.device)
        if key not in self._constants:
            kernel = images_BCHW.new_ones(channels, 1, 3, 3)
            ones = images_BCHW.new_ones(1, 1, *size)
            counts = F.conv2d(ones, kernel[:1], stride=self.stride, padding=1)
            # Under autocast the counts are in a lower precision, in which they are still exact.
            self._constants[key] = kernel, counts.to(images_BCHW.dtype)
        return self._constants[key]


class MaxPool(nn.Module):
    """3x3 max pooling."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not images_BCHW.is_cpu:
            return F.max_pool2d(images_BCHW, 3, stride=self.stride, padding=1)
        # Ten times faster for few channels_last channels on a CPU; its gradient would be slower.
        rows_BHWC = images_BCHW.permute(0, 2, 3, 1)
        padded = F.pad(rows_BHWC, (0, 0, 1, 1, 1, 1), value=-torch.inf)
        # the maximum of a square is that of its rows' maxima: 4 comparisons in place of 8
        columns = _largest_of_three(padded, 1, self.stride)
        return _largest_of_three(columns, 2, self.stride).permute(0, 3, 1, 2)


def _largest_of_three(values: Tensor, dim: int, stride: int) -> Tensor:
    """Return the maximum of each window of 3 neighbours along `dim`."""
    first, second, third = values.unfold(dim, 3, stride).unbind(-1)
    return torch.maximum(torch.maximum(first, second), third)

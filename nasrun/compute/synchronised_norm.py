"""Normalise over the images of a batch that several processes share.

The same mathematics as `F.batch_norm` on the whole batch, forwards and backwards, on any device
(torch's own SyncBatchNorm takes tensors on GPUs only). Shapes: B images of this process, N values
of a channel in the whole batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nasrun.compute.process_group import ProcessGroup


def synchronise(network: nn.Module, group: ProcessGroup) -> None:
    """Make all batch norms of a network that is trained normalise by the batch of the group."""
    norm = partial(batch_norm, group)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # as a method of this one module; its parameters and their names stay what they are
            module.forward = partial(_forward, module, norm)  # type: ignore[method-assign]
        elif hasattr(module, "normalise_update"):
            module.normalise_update = norm  # type: ignore[assignment]


@contextmanager
def sharing_a_batch(network: nn.Module, group: ProcessGroup) -> Iterator[None]:
    """Let a supernet's batch norms use the batch of the group, within the context.

    That concerns passes by the statistics of a batch that leave no trace ("batch"), where each
    process has its share of the images.
    """
    norms: list[Any] = [one for one in network.modules() if hasattr(one, "normalise_batch")]
    for module in norms:
        module.normalise_batch = partial(batch_norm, group)
    try:
        yield
    finally:
        for module in norms:
            module.normalise_batch = F.batch_norm


def _forward(module: nn.BatchNorm2d, norm: Any, images_BCHW: Tensor) -> Tensor:
    """Compute `nn.BatchNorm2d.forward` with `norm` as the batch norm of a training."""
    if not module.training:
        return nn.BatchNorm2d.forward(module, images_BCHW)
    assert module.momentum is not None
    assert module.num_batches_tracked is not None
    module.num_batches_tracked += 1
    normalised_BCHW: Tensor = norm(
        images_BCHW,
        module.running_mean,
        module.running_var,
        module.weight,
        module.bias,
        training=True,
        momentum=module.momentum,
        eps=module.eps,
    )
    return normalised_BCHW


def batch_norm(
    group: ProcessGroup,
    images_BCHW: Tensor,
    running_mean_C: Tensor | None,
    running_var_C: Tensor | None,
    weight_C: Tensor | None = None,
    bias_C: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `F.batch_norm` in training, by the mean and the variance of the whole batch.

    The running statistics are moved by them where these are given.
    """
    assert training
    mean_C, variance_C, num_values = _statistics(images_BCHW.detach(), group)
    if running_mean_C is not None and running_var_C is not None:
        with torch.no_grad():
            # as torch does: the batch is normalised by the biased variance, the running one is
            # unbiased
            unbiased_C = variance_C * (num_values / (num_values - 1).clamp_min(1))
            running_mean_C.lerp_(mean_C.to(running_mean_C.dtype), momentum)
            running_var_C.lerp_(unbiased_C.to(running_var_C.dtype), momentum)
    precise = torch.promote_types(images_BCHW.dtype, torch.float32)
    normalised_BCHW: Tensor = _BatchNorm.apply(
        images_BCHW,
        weight_C,
        bias_C,
        mean_C.to(precise),
        variance_C.to(precise),
        num_values,
        eps,
        group,
    )
    return normalised_BCHW


def _statistics(images_BCHW: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean_C and variance_C (biased) over the whole batch, and N.

    All are float64, in which the difference of two squares is harmless.
    """
    variance_C, mean_C = torch.var_mean(_precise(images_BCHW), dim=(0, 2, 3), correction=0)
    mean_C, variance_C = mean_C.double(), variance_C.double()
    here = mean_C.new_full((1,), images_BCHW.numel() // images_BCHW.shape[1])
    # Sums and sums of squares add up over processes whose shares differ in size; means do not.
    sums = group.sum(torch.cat([here * mean_C, here * (variance_C + mean_C.square()), here]))
    num_values = sums[-1]
    mean_C, square_C = (sums[:-1] / num_values).chunk(2)
    return mean_C, (square_C - mean_C.square()).clamp_min(0), num_values


class _BatchNorm(torch.autograd.Function):
    """Batch norm as torch differentiates it, with mean and variance of all processes' images.

    It computes weight * (images - mean) / sqrt(variance + eps) + bias.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images_BCHW: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        variance_C: Tensor,
        num_values: Tensor,
        eps: float,
        group: ProcessGroup,
    ) -> Tensor:
        ctx.save_for_backward(images_BCHW, weight_C, mean_C, variance_C, num_values)
        ctx.eps, ctx.group = eps, group
        return F.batch_norm(images_BCHW, mean_C, variance_C, weight_C, bias_C, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BCHW: Tensor) -> Any:
        """Return the gradients of images, weight and bias.

        With y the normalised images before weight and bias, and means over the whole batch,
        d images = weight / deviation * (gradient - mean(gradient) - y * mean(gradient * y)).
        """
        images_BCHW, weight_C, mean_C, variance_C, num_values = ctx.saved_tensors
        inverse_C = (variance_C + ctx.eps).rsqrt()
        centred_BCHW = _precise(images_BCHW) - _spread(mean_C)
        gradient_BCHW = _precise(gradient_BCHW)
        sum_C = gradient_BCHW.sum(dim=(0, 2, 3))
        sum_with_y_C = (gradient_BCHW * centred_BCHW).sum(dim=(0, 2, 3)) * inverse_C
        sums = ctx.group.sum(torch.cat([sum_C, sum_with_y_C]).double()) / num_values
        gradient_mean_C, with_y_mean_C = sums.to(centred_BCHW.dtype).chunk(2)
        slope_C = with_y_mean_C * inverse_C
        inner_BCHW = gradient_BCHW - _spread(gradient_mean_C) - centred_BCHW * _spread(slope_C)
        factor_C = inverse_C if weight_C is None else inverse_C * weight_C
        of_images_BCHW = (inner_BCHW * _spread(factor_C)).to(images_BCHW.dtype)
        # of this process's images alone: DistributedDataParallel joins the gradients of parameters
        of_weight_C = None if weight_C is None else sum_with_y_C.to(weight_C.dtype)
        of_bias_C = sum_C if ctx.needs_input_grad[2] else None
        return of_images_BCHW, of_weight_C, of_bias_C, None, None, None, None, None


def _precise(values: Tensor) -> Tensor:
    """Return values as float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _spread(values_C: Tensor) -> Tensor:
    return values_C[:, None, None]

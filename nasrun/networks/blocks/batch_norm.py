"""Normalise batches by statistics that the caller chooses, in networks with shared weights.

A supernet is trained by one call ("update"), and scores candidates by another that must not leave
a trace ("batch") or that uses what training has gathered ("running").
Shapes: B batch, C channels, E edges whose channels are stacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import constant
from nasrun.protocols.space import Statistics

EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Batch norm of E edges at once (momentum 0.1 and epsilon as torch's defaults).

    Args:
        channels: C, per edge.
        num_edges: E; the images have E*C channels, those of an edge together.
        affine: a trained scale and shift per channel.
    """

    running_mean_EC: Tensor
    running_var_EC: Tensor

    def __init__(self, channels: int, *, num_edges: int = 1, affine: bool = False) -> None:
        super().__init__()
        self.register_buffer("running_mean_EC", torch.zeros(num_edges, channels))
        self.register_buffer("running_var_EC", torch.ones(num_edges, channels))
        self.weight_EC = nn.Parameter(torch.ones(num_edges, channels)) if affine else None
        self.bias_EC = nn.Parameter(torch.zeros(num_edges, channels)) if affine else None
        # may be replaced by one that takes the statistics of a batch from several processes
        self.normalise_update: Callable[..., Tensor] = F.batch_norm
        self.normalise_batch: Callable[..., Tensor] = F.batch_norm

    def forward(
        self,
        images_BCHW: Tensor,
        statistics: Statistics,
        *,
        chosen: list[int] | None = None,
        scale_N: Tensor | None = None,
    ) -> Tensor:
        """Return the normalised images, float, of the same shape.

        "update" normalises by the batch and moves the running statistics (unbiased variance);
        "batch" leaves them alone; "running" normalises by them. `chosen` are the edges that the
        images hold (default: all). `scale_N` is a factor for each of the N = E*C channels, such as
        the mixing weight of their edge, which then costs no pass of its own; only without `affine`.
        """
        mean_EC, variance_EC = self.running_mean_EC, self.running_var_EC
        if chosen is not None:
            places = constant(chosen, mean_EC.device)
            mean_EC, variance_EC = (one.index_select(0, places) for one in (mean_EC, variance_EC))
        scale = None if self.weight_EC is None else self.weight_EC.view(-1)
        if scale_N is not None:
            assert self.weight_EC is None, "an affine batch norm has a scale already"
            scale = scale_N.to(mean_EC.dtype)
        batch_only = statistics == "batch"
        normalise = {
            "update": self.normalise_update,
            "batch": self.normalise_batch,
            "running": F.batch_norm,
        }[statistics]
        normalised_BCHW = normalise(
            images_BCHW,
            None if batch_only else mean_EC.view(-1),
            None if batch_only else variance_EC.view(-1),
            scale,
            None if self.bias_EC is None else self.bias_EC.view(-1),
            training=statistics != "running",
            eps=EPSILON,
        )
        if statistics == "update" and chosen is not None:  # those moved above are copies
            self.running_mean_EC.index_copy_(0, places, mean_EC)
            self.running_var_EC.index_copy_(0, places, variance_EC)
        return normalised_BCHW


Folded = Mapping[BatchNorm, tuple[Tensor, Tensor]]
"""factor_EC and shift_EC with which "running" is `factor * images + shift`."""


def fold(norms: Sequence[BatchNorm]) -> Folded:
    """Return each norm's running statistics as a factor and a shift, all in a few calls.

    Only for norms without a scale of their own (`affine=False`).
    """
    assert all(norm.weight_EC is None for norm in norms)
    mean = torch.cat([norm.running_mean_EC.flatten() for norm in norms])
    variance = torch.cat([norm.running_var_EC.flatten() for norm in norms])
    factor = (variance + EPSILON).rsqrt()
    sizes = [norm.running_mean_EC.numel() for norm in norms]
    factors, shifts = torch.split(factor, sizes), torch.split(-mean * factor, sizes)
    return {
        norm: (factor_N.view_as(norm.running_mean_EC), shift_N.view_as(norm.running_mean_EC))
        for norm, factor_N, shift_N in zip(norms, factors, shifts, strict=True)
    }


class TorchNorm(nn.BatchNorm2d):
    """Torch's own batch norm in the place of one above, for tools that know torch's layers.

    In evaluation it normalises by the running statistics, in training by the batch.
    """

    def forward(self, images_BCHW: Tensor, statistics: Statistics = "update") -> Tensor:
        normalised_BCHW: Tensor = super().forward(images_BCHW)
        return normalised_BCHW


def with_torchs_norms(network: nn.Module) -> nn.Module:
    """Put a `TorchNorm` in the place of each affine norm of one edge, in the network itself."""
    for parent in list(network.modules()):
        for name, norm in parent.named_children():
            if (
                isinstance(norm, BatchNorm)
                and norm.weight_EC is not None
                and len(norm.weight_EC) == 1
            ):
                assert norm.bias_EC is not None
                own = TorchNorm(norm.weight_EC.shape[1], EPSILON)
                with torch.no_grad():
                    own.weight.copy_(norm.weight_EC[0])
                    own.bias.copy_(norm.bias_EC[0])
                own.running_mean = norm.running_mean_EC[0].clone()
                own.running_var = norm.running_var_EC[0].clone()
                setattr(parent, name, own.train(norm.training))
    return network

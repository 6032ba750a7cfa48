"""Change a learning rate from epoch to epoch."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

Shape: TypeAlias = Literal["cosine", "linear"]

TAIL = 5  # epochs


def make_schedule(
    optimiser: Optimizer,
    shape: Shape,
    num_epochs: int,
    learning_rate_min: float,
    warmup_epochs: int,
) -> LRScheduler:
    """Lower the optimiser's learning rate to `learning_rate_min` in `num_epochs` epochs.

    Args:
        warmup_epochs: in the first so many, the rate is multiplied by 1/n, 2/n, ..., n/n.
    """
    if shape == "cosine" and warmup_epochs == 0:
        return CosineAnnealingLR(optimiser, T_max=num_epochs, eta_min=learning_rate_min)
    highest = float(optimiser.param_groups[0]["lr"])
    lowest = learning_rate_min / highest if highest else 0.0
    height = linear if shape == "linear" else cosine

    def factor(epoch: int) -> float:
        warm = min(1.0, (epoch + 1) / warmup_epochs) if warmup_epochs else 1.0
        return warm * (lowest + (1.0 - lowest) * height(epoch, num_epochs))

    return LambdaLR(optimiser, factor)


def cosine(epoch: int, num_epochs: int) -> float:
    """Fall from 1 to 0 along half a cosine (Loshchilov, Hutter, SGDR, 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * epoch / num_epochs))


def linear(epoch: int, num_epochs: int) -> float:
    """Fall from 1 to 0 on a line, and more slowly at the end.

    The last epochs take a fifth of a step each, five times. So the code of PC-DARTS (arXiv
    1907.05737) trains on ImageNet; EG-NAS follows it.
    """
    remaining = num_epochs - epoch
    if num_epochs <= 2 * TAIL:
        return remaining / num_epochs
    if remaining > TAIL:
        return (remaining - TAIL) / (num_epochs - TAIL)
    return remaining / TAIL / (num_epochs - TAIL)

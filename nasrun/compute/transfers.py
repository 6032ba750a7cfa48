"""Move numbers between the host and the device, without making either of them wait.

A GPU works on its own while Python prepares the next call. Whoever reads a number of the device
waits until all that was asked of it before is done, and a copy from ordinary memory waits, too. So
training steps send by `upload` and `constant`, and read by `read`, now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

FEW_UPDATES = 20  # so many updates, and no more, go on from a loss that is not finite


def upload(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy numbers of the host to the device; the host does not wait until they are there."""
    tensor = tensor.detach()
    if device.type == "cuda" and tensor.is_cpu:
        # only from pinned memory can the device copy by itself; torch keeps it until it has
        tensor = tensor.pin_memory()
    return tensor.to(device, dtype or tensor.dtype, non_blocking=True)


@lru_cache(maxsize=4096)
def _constant(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return upload(torch.tensor(numbers, dtype=torch.int64), device)


def constant(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return indices, int64, on the device, where they are kept from the first time on.

    A Python list as an index is copied to the device every time. Nobody may change the result.
    """
    return _constant(tuple(numbers), device)


def read(numbers: Tensor) -> list[float]:
    """Return the numbers of a vector as Python has them; the host waits for the device."""
    return [float(number) for number in numbers.tolist()]


def updates_between_looks(device: torch.device) -> int:
    """Say how many updates are made before the host looks whether they were sound.

    To look costs nothing where the host computes itself.
    """
    return 1 if device.type == "cpu" else FEW_UPDATES

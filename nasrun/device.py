"""Everything that depends on the kind of device: the only place with such branches.

On a GPU: bfloat16 autocast, channels_last, TF32 matrix products, cuDNN's autotuner. On a CPU:
float32 and channels_last.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from nasrun.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]


class Device:
    """Where a run computes, and in which precision.

    Args:
        name: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`.
        precision: `auto` (bfloat16 autocast on a GPU, float32 elsewhere), `float32`, `bfloat16`.
        compile_networks: compile each network with `torch.compile` (minutes; for long runs).

    Raises:
        UsageError: the device is unknown or not there.
    """

    def __init__(self, name: str, precision: Precision, compile_networks: bool) -> None:
        self.torch = _resolve(name)
        self.precision = precision
        if precision == "auto":
            self.precision = "bfloat16" if self.torch.type == "cuda" else "float32"
        self._compile = compile_networks
        if self.torch.type == "cuda":
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision == "bfloat16":
            return torch.autocast(self.torch.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device in the memory layout that convolutions like best."""
        # A 4-d layout: parameters of other ranks (1-d convolutions, vectors) are left alone.
        placed = network.to(self.torch, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(placed, nn.Module)
        if self._compile:
            placed.compile()
        return placed

    def images(self, images: Tensor) -> Tensor:
        """Images in the layout of the networks."""
        if images.dim() == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def peak_memory(self) -> int | None:
        """The most bytes of a GPU's memory that this process has had; `None` on a CPU."""
        if self.torch.type == "cpu":
            return None
        return torch.cuda.max_memory_reserved(self.torch)

    def free_memory(self) -> int | None:
        """Bytes of a GPU's memory that networks could still take; `None` on a CPU."""
        if self.torch.type == "cpu":
            return None
        reserved = torch.cuda.memory_reserved(self.torch)
        free, _ = torch.cuda.mem_get_info(self.torch)
        return free + reserved - torch.cuda.memory_allocated(self.torch)

    def describe(self) -> str:
        if self.torch.type == "cuda":
            return f"{self.torch} ({torch.cuda.get_device_name(self.torch)})"
        return f"{self.torch} ({torch.get_num_threads()} threads)"


def _resolve(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name} is not known: use device=auto, cpu, cuda or cuda:<n>")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError(f"device={name}, but this machine has no usable GPU: use device=cpu")
        if (device.index or 0) >= count:
            raise UsageError(f"device={name}, but the GPUs here are cuda:0 to cuda:{count - 1}")
    return device

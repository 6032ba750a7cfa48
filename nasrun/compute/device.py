"""Decide all that depends on the kind of device: the only place with such branches.

On a GPU: bfloat16 autocast, channels_last, TF32 matrix products, cuDNN's autotuner. On a CPU:
float32 and channels_last.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from nasrun.compute import torchrun
from nasrun.compute.process_group import ALONE, ProcessGroup
from nasrun.compute.shared_dropout import share_dropout
from nasrun.compute.synchronised_norm import sharing_a_batch, synchronise
from nasrun.errors import OutOfMemory, UsageError

Precision = Literal["auto", "float32", "bfloat16", "float64"]
OnOom = Literal["stop", "halve"]
Outcome = TypeVar("Outcome")

LEAST_PART = 2  # images; batch norm needs two
SAY_OUT_OF_MEMORY = (  # texts of errors whose type does not tell
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True)
class Load:
    """Something computed on many images at a time, and what decides how much memory it takes.

    Args:
        name: for people, and of the parts in a checkpoint.
        group: of the settings `batch_size` and `learning_rate`, where it has them; they decide also
            how steady a training is.
        sizes: settings of how large the network is.
    """

    name: str
    group: str | None
    sizes: str

    @property
    def to_lower(self) -> str:
        """List the settings that make the load smaller, as a text."""
        return self.sizes if self.group is None else f"{self.group}.batch_size, {self.sizes}"


class Device:
    """The device on which a run computes, and in which precision.

    Args:
        name: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`.
        precision: `auto` (bfloat16 autocast on a GPU, float32 elsewhere), `float32`, `bfloat16`, or
            `float64`, in which the order of a sum hardly matters: runs with other numbers of
            threads or processes agree. It takes twice the memory and more than twice the time.
        compile_networks: compile each network with `torch.compile` (minutes; for long runs).
        on_oom: when memory runs out, `stop`, or `halve` what is computed at a time and go on.
        group: the processes that share the work.
        sync_batch_norm: batch norm in training by the batch of the group, not by this process's
            share of it.

    Attributes:
        parts: name of a load -> in how many parts its batches are computed, where that is not
            one; belongs into a checkpoint.

    Raises:
        UsageError: the device is unknown or not there.
    """

    def __init__(
        self,
        name: str,
        precision: Precision,
        compile_networks: bool,
        on_oom: OnOom = "stop",
        group: ProcessGroup = ALONE,
        sync_batch_norm: bool = True,
    ) -> None:
        self.torch = _resolve(name) if group.size == 1 else _resolve_of_many(name)
        self.group = group
        self.parts: dict[str, int] = {}
        self._sync_batch_norm = sync_batch_norm
        # Only the process that ran out of memory would halve, and its exchanges would no longer
        # match those of the others.
        if group.size > 1 and on_oom == "halve":
            raise UsageError(
                "on_oom=halve is not possible with torchrun, whose processes would no longer do "
                "the same: lower the batch sizes, or leave it out"
            )
        self._on_oom = on_oom
        self.precision = precision
        if precision == "auto":
            self.precision = "bfloat16" if self.torch.type == "cuda" else "float32"
        self.dtype = torch.float64 if precision == "float64" else torch.float32  # of networks
        self.compiles = compile_networks
        if self.torch.type == "cuda":
            # the images of a run mostly have one size, so that cuDNN's trials pay
            torch.backends.cudnn.benchmark = True
            # TF32: fewer bits of the factors, the exponents of float32
            torch.set_float32_matmul_precision("high")

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision == "bfloat16":
            return torch.autocast(self.torch.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    @property
    def alone(self) -> Device:
        """Return the same device for work that this process does not share with others."""
        own = copy.copy(self)
        own.group = ALONE
        return own

    def parallel(self, network: nn.Module, *, changing: bool = False) -> nn.Module:
        """Prepare a network for training by the whole group; see `ProcessGroup.parallel`.

        The result is for the forward passes of the training alone.
        """
        if self.group.size > 1:
            share_dropout(network, self.group)
            if self._sync_batch_norm:
                synchronise(network, self.group)
        return self.group.parallel(network, changing=changing)

    def sharing_a_batch(self, network: nn.Module) -> AbstractContextManager[None]:
        """Return a context for passes over a shared batch that are no training."""
        if self.group.size > 1 and self._sync_batch_norm:
            return sharing_a_batch(network, self.group)
        return contextlib.nullcontext()

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device in the memory layout that convolutions like best."""
        # A 4-d layout: parameters of other ranks (1-d convolutions, vectors) are left alone.
        placed = network.to(self.torch, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(placed, nn.Module)
        if self.compiles:
            placed.compile()
        return placed

    def images(self, images: Tensor) -> Tensor:
        """Return images in the layout and the numbers of the networks."""
        images = images.to(self.dtype)
        if images.dim() == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def in_parts(self, load: Load, num_images: int, compute: Callable[[int], Outcome]) -> Outcome:
        """Call `compute` with the number of parts to work in, and return its result.

        `num_images` are to be computed. With `on_oom=halve` the number is doubled for as long as
        memory runs out, and stays so from then on.

        Raises:
            OutOfMemory: memory has run out, and no more can be done about it.
        """
        while True:
            parts = self.parts.get(load.name, 1)
            try:
                return compute(parts)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the `except` block, where the traceback keeps the tensors of the attempt.
            self._release()
            if self._on_oom == "stop" or num_images // (2 * parts) < LEAST_PART:
                images = f"{-(-num_images // parts):,} images at a time on {self.torch}"
                also = ", or type on_oom=halve" if self._on_oom == "stop" else ""
                raise OutOfMemory(
                    f"out of memory: the {load.name} takes {images}; lower {load.to_lower}{also}"
                )
            self.parts[load.name] = 2 * parts

    def _release(self) -> None:
        """Give back what the allocator keeps of a failed attempt."""
        if self.torch.type == "cuda":
            torch.cuda.empty_cache()

    def peak_memory(self) -> int | None:
        """Return the most bytes of a GPU's memory this process has had; `None` on a CPU."""
        if self.torch.type == "cpu":
            return None
        return torch.cuda.max_memory_reserved(self.torch)

    def free_memory(self) -> int | None:
        """Return the bytes of a GPU's memory that networks could still take; `None` on a CPU."""
        if self.torch.type == "cpu":
            return None
        # What torch's allocator keeps without using it can be had again, besides what is free.
        reserved = torch.cuda.memory_reserved(self.torch)
        free, _ = torch.cuda.mem_get_info(self.torch)
        return free + reserved - torch.cuda.memory_allocated(self.torch)

    def wait(self) -> None:
        """Wait until all that was asked of the device is done."""
        if self.torch.type == "cuda":
            torch.cuda.synchronize(self.torch)

    def describe(self) -> str:
        """Name the device for people."""
        if self.torch.type == "cuda":
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # a job of a sweep sees one of several
            which = f", GPU {visible}" if visible else ""
            return f"{self.torch} ({torch.cuda.get_device_name(self.torch)}{which})"
        number = torch.get_num_threads()
        return f"{self.torch} ({number} thread{'s' * (number != 1)})"


def precise(values: Tensor) -> Tensor:
    """Return values as float32 at least, for losses."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out.

    torch has a class for it on GPUs only; elsewhere the text of the error tells.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SAY_OUT_OF_MEMORY)


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


def _resolve_of_many(name: str) -> torch.device:
    """Return the device of one of several processes: a GPU of its own, or the CPU."""
    device = _resolve(name)
    if device.type == "cpu":
        return device
    if ":" in name:
        raise UsageError(
            f"device={name} is not possible with torchrun, which gives each process another GPU: "
            "use device=cuda, or leave it out"
        )
    gpus, processes = torch.cuda.device_count(), torchrun.num_local_processes()
    if processes > gpus:
        raise UsageError(
            f"torchrun has started {processes} processes here, and there are {gpus} GPUs: use "
            f"--nproc-per-node={gpus}, or device=cpu"
        )
    device = torch.device("cuda", torchrun.local_rank())
    torch.cuda.set_device(device)  # NCCL asks for it
    return device

"""Connect the processes that train one network together, started by torchrun.

All of them run the same program on the same settings, draw the same random numbers, and take the
same decisions. They share the images of a batch, the candidates of a population, and the images
that are predicted. Shapes: N rows in all, M of them here.
"""

from __future__ import annotations

import atexit
import datetime
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nasrun.compute import torchrun
from nasrun.errors import RunError

T = TypeVar("T")

# One process may train for days while others wait; a lost one is noticed by its connection.
PATIENCE = datetime.timedelta(days=30)
SAY_LOST = ("gloo", "Connection closed", "Connection reset", "Broken pipe")


@dataclass(frozen=True)
class Share:
    """Which images of a batch these are, where several processes share it."""

    rows: range
    batch_size: int  # images of the whole batch


class ProcessGroup:
    """The processes of a run. This class is a group of one, which has nothing to exchange."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, total: int, rank: int | None = None) -> range:
        """Return which of `total` things in a row are this process's, or those of process `rank`.

        They are as many as any other's, or one more; none where there are fewer things than
        processes.
        """
        rank = self.rank if rank is None else rank
        each, more = divmod(total, self.size)
        first = rank * each + min(rank, more)
        return range(first, first + each + (rank < more))

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes."""
        return tensor

    def gather(self, rows_M: Tensor, total: int) -> Tensor:
        """Return rows_N: the `total` rows of which each process has its share."""
        return rows_M

    def collect(self, value: T) -> list[T]:
        """Return a small value of each process, in the order of the ranks."""
        return [value]

    def of_first(self, make: Callable[[], T]) -> T:
        """Return what the first process makes; the others make nothing."""
        return make()

    def copy_of_first(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""

    def parallel(self, network: nn.Module, *, changing: bool) -> nn.Module:
        """Return the network as one whose gradients are means over all processes.

        Args:
            changing: which parameters have a gradient differs from batch to batch.
        """
        return network


class _OfTorch(ProcessGroup):
    """A group that uses torch.distributed: NCCL between GPUs, gloo between CPUs."""

    def __init__(self) -> None:
        from torch import distributed

        self._distributed: Any = distributed
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        self._distributed.all_reduce(total)
        return total

    def gather(self, rows_M: Tensor, total: int) -> Tensor:
        counts = [len(self.share(total, rank)) for rank in range(self.size)]
        padded = rows_M.new_zeros(max(counts), *rows_M.shape[1:])  # they must be of one size
        padded[: len(rows_M)] = rows_M
        parts = [torch.empty_like(padded) for _ in counts]
        self._distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def collect(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        self._distributed.all_gather_object(values, value)
        return values

    def of_first(self, make: Callable[[], T]) -> T:
        values = [make() if self.is_first else None]
        self._distributed.broadcast_object_list(values)
        return values[0]  # type: ignore[return-value]

    def copy_of_first(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            self._distributed.broadcast(tensor, 0)

    def parallel(self, network: nn.Module, *, changing: bool) -> nn.Module:
        from torch.nn.parallel import DistributedDataParallel

        # In a cell some parameters may lead nowhere: DDP has to look for them in each batch, or
        # once if they stay the same.
        return DistributedDataParallel(
            network, find_unused_parameters=changing, static_graph=not changing
        )


ALONE = ProcessGroup()


def join(device: str) -> ProcessGroup:
    """Join the processes that torchrun has started with this one; without it, stay alone.

    Args:
        device: the setting of that name.
    """
    if torchrun.num_processes() == 1:
        return ALONE
    from torch import distributed

    if not distributed.is_initialized():
        on_gpu = device != "cpu" and torch.cuda.is_available()
        warnings.filterwarnings("ignore", "Grad strides do not match")  # harmless for 1x1 kernels
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return _OfTorch()


def require_same(group: ProcessGroup, name: str, value: object) -> None:
    """Raise a `RunError` unless all processes have the same value."""
    values = group.collect(value)
    for rank, other in enumerate(values):
        if other != values[0]:
            raise RunError(
                f"the {name} of process {rank} is another one than that of process 0: "
                f"{other} and {values[0]}; all must run the same command on the same files"
            )


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that another process of the group has gone."""
    if torchrun.num_processes() == 1:
        return False
    from torch import distributed

    if isinstance(error, distributed.DistError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(text in said for text in SAY_LOST)

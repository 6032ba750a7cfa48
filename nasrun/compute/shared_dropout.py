"""Let the processes of a group drop the same elements of a batch as one process would."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nasrun.compute.process_group import ProcessGroup


def share_dropout(network: nn.Module, group: ProcessGroup) -> None:
    """Make all dropout of a network draw for the batch of the group, of which each has a share.

    torch's global generator must be in the same state in all processes.
    """
    for module in network.modules():
        if hasattr(module, "place_in_batch"):
            module.place_in_batch = partial(_place, group)  # type: ignore[assignment]


def _place(group: ProcessGroup, rows_RN: Tensor) -> tuple[int, int]:
    """Return how many rows all processes have, and how many those before this one."""
    counts = rows_RN.new_zeros(group.size, dtype=torch.int64)
    counts[group.rank] = len(rows_RN)
    all_counts = group.sum(counts).tolist()
    return sum(all_counts), sum(all_counts[: group.rank])

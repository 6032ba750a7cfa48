"""Measure what a network costs: its trainable parameters and its multiply-adds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasrun.compute.memory import require_memory
from nasrun.protocols.space import as_module

LARGE = 100_000  # channels squared, times cells: a gigabyte, with gradients and momenta

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, SearchSpace


def measure(network: Network, shape: TaskShape) -> tuple[int, int]:
    """Count the trainable parameters, and the multiply-adds of one input.

    The multiply-adds are those of convolutions and linear layers. A copy without data runs on the
    meta device, so nothing is computed and `network` stays as it is. An auxiliary head counts among
    the parameters and not among the multiply-adds.
    """
    parameters = sum(p.numel() for p in as_module(network).parameters() if p.requires_grad)
    shadow = copy.deepcopy(as_module(network)).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(torch.empty(1, shape.channels, *shape.size, device="meta"))
    return parameters, counter.get_total_flops() // 2  # the counter has two per multiply-add


def is_large(space: SearchSpace, channels: int | None, cells: int | None) -> bool:
    """Return whether a network might not fit into memory.

    `None` stands for the space's own size. The answer is an estimate, since to build a network on
    the meta device costs a second or two, for imports; the papers' sizes are far below the limit.
    """
    channels = space.channels if channels is None else channels
    cells = space.cells if cells is None else cells
    return channels**2 * cells > LARGE


def require_room(network: nn.Module, keys: str) -> None:
    """Raise a `UsageError` if a network cannot be trained in the memory of this machine.

    Weights, gradients and momenta must fit. The network was built on the meta device; `keys` are
    the settings that make it smaller.
    """
    num_bytes = 3 * sum(parameter.nbytes for parameter in network.parameters())
    require_memory(
        num_bytes, f"the weights of a network of this size ({keys}), and what trains it,"
    )

"""What a network costs: its trainable parameters and its multiply-adds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasrun.protocols import as_module

if TYPE_CHECKING:
    from nasrun.protocols import Network, TaskShape


def measure(network: Network, shape: TaskShape) -> tuple[int, int]:
    """Trainable parameters and multiply-adds (convolutions and linear layers) of one input.

    A copy without data runs on the meta device, so nothing is computed and `network` stays as it
    is. An auxiliary head counts among the parameters and not among the multiply-adds.
    """
    parameters = sum(p.numel() for p in as_module(network).parameters() if p.requires_grad)
    shadow = copy.deepcopy(as_module(network)).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(torch.empty(1, shape.channels, *shape.size, device="meta"))
    return parameters, counter.get_total_flops() // 2  # the counter has two per multiply-add

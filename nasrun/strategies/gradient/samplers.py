"""Draw mixing weights at random around alpha, as functions of alpha. Shapes: E edges, O operations.

The noise is drawn on the CPU from a stream of the run, so that all processes of a group and all
kinds of device see the same.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_softmax(logits_EO: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw weights_EO from the concrete distribution: softmax((logits + Gumbel) / temperature).

    The largest weight of an edge is that of operation o with the probability softmax(logits)_o,
    whatever the temperature (C. Maddison et al., arXiv 1611.00712; E. Jang et al., 1611.01144).
    """
    uniform_EO = torch.rand(logits_EO.shape, generator=generator)
    smallest = torch.finfo(uniform_EO.dtype).tiny  # a draw can be 0, which has no logarithm
    gumbel_EO = -(-uniform_EO.clamp(min=smallest).log()).log()
    return ((logits_EO + gumbel_EO) / temperature).softmax(dim=1)


def straight_through(soft_EO: Tensor) -> Tensor:
    """Round weights_EO to the strongest operation of each edge, with the gradient of `soft_EO`."""
    return strongest(soft_EO) + soft_EO - soft_EO.detach()


def strongest(weights_EO: Tensor) -> Tensor:
    """Return a constant, 1 for the strongest operation of each edge and else 0; weights_EO."""
    hard_EO = torch.zeros_like(weights_EO)  # of a tensor with gradients, and without one itself
    return hard_EO.scatter_(1, weights_EO.detach().argmax(dim=1, keepdim=True), 1.0)


def annealed(start: float, end: float, done: int, total: int) -> float:
    """Interpolate along a line from `start` in the first of `total` epochs to `end` in the last."""
    return start + (end - start) * done / max(1, total - 1)

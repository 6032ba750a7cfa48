"""SNIP: how much the loss would change without each weight, to first order.

N. Lee, T. Ajanthan, P. H. S. Torr. SNIP: Single-shot Network Pruning based on Connection
Sensitivity. ICLR 2019, arXiv 1810.02340. As a score of architectures: M. S. Abdelfattah et
al. Zero-Cost Proxies for Lightweight NAS. ICLR 2021, arXiv 2101.08134.

    score = sum over weights w of |w dL/dw|, L the cross-entropy of one batch

Deviations:
- Weights are as the space initialises them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nasrun.predictors.zero_cost.base import OnImages, loss_gradients
from nasrun.protocols.settings import plugin


@plugin
class Snip(OnImages):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "snip"

    def of_network(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> float:
        pairs = loss_gradients(network, images_BCHW, labels_B)
        return float(torch.stack([(w.detach() * g).abs().sum() for w, g in pairs]).sum())

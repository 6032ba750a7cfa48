"""Grad norm: how large the gradient of the loss is at initialisation.

M. S. Abdelfattah, A. Mehrotra, L. Dudziak, N. D. Lane. Zero-Cost Proxies for Lightweight NAS. ICLR
2021, arXiv 2101.08134.

    score = sum over layers of the Euclidean norm of dL/dw, L the cross-entropy of one batch

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
class GradNorm(OnImages):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "grad_norm"

    def of_network(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> float:
        norms = [one.norm() for _, one in loss_gradients(network, images_BCHW, labels_B)]
        return float(torch.stack(norms).sum())

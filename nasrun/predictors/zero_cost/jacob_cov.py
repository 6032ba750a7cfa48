"""Jacob cov: how little the derivatives of the outputs by different images have in common.

J. Mellor, J. Turner, A. Storkey, E. J. Crowley. Neural Architecture Search without Training. 2020,
arXiv 2006.04647v1. As a score among others: M. S. Abdelfattah et al. Zero-Cost Proxies for
Lightweight NAS. ICLR 2021, arXiv 2101.08134.

    J[i] = d(sum of the logits) / d(image i);  C = correlations of the rows of J
    score = -sum over eigenvalues v of C of log(v + k) + 1 / (v + k),  k = 1e-5

Deviations: none.

Shapes: B images, D values of an image.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nasrun.predictors.zero_cost.base import NoScore, OnImages
from nasrun.protocols.settings import plugin

K = 1e-5


@plugin
class JacobCov(OnImages):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "jacob_cov"

    def of_network(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> float:
        images_BCHW = images_BCHW.detach().clone().requires_grad_()
        total = network(images_BCHW).sum()
        if not total.requires_grad:
            raise NoScore("has an output that does not depend on what is in an image")
        (jacobian_BCHW,) = torch.autograd.grad(
            total, images_BCHW, allow_unused=True, materialize_grads=True
        )
        return of_jacobian(jacobian_BCHW.flatten(1).double().cpu().numpy())


def of_jacobian(jacobian_BD: np.ndarray) -> float:
    """Return the score.

    Raises:
        NoScore: an image has the same derivative everywhere, so that it correlates with none.
    """
    if not (jacobian_BD.std(axis=1) > 0).all():
        raise NoScore("has an output that does not depend on what is in an image")
    eigenvalues_B = np.linalg.eigvalsh(np.corrcoef(jacobian_BD)) + K
    return -float(np.sum(np.log(eigenvalues_B) + 1.0 / eigenvalues_B))

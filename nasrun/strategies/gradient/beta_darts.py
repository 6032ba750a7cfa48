"""beta-DARTS: Beta-Decay Regularization for Differentiable Architecture Search.

P. Ye, B. Li, Y. Li, T. Chen, J. Fan, W. Ouyang. CVPR 2022, arXiv 2203.01665.

DARTS, with a decay of the mixing weights softmax(alpha), which the paper calls beta: the mean over
the edges of the logarithm of the sum of exp(alpha) is added to the loss of alpha. It keeps the
weights of an edge from drifting apart, and so the lead of skip connections within bounds.

    for each epoch t of T:
        for each batch of the training half:
            alpha by the gradient of L_val + lambda_end * t / T * mean logsumexp(alpha)
            w by the gradient of L_train
    derive the cell from alpha

By default lambda_end is half of T, as in the public code (25 of 50, 50 of 100): lambda grows by 1/2
an epoch, however many batches an epoch has (on CIFAR-10, in the paper, 391). Where they are few it
has overtaken the loss before alpha has moved, and flattens it; then a lower lambda_end is due. The
toy space, whose loss vanishes, shows that: with 32 batches an epoch the best operations are found,
with 8 only below a lambda_end of 1.

Deviations: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasrun.protocols.settings import NotNegative, plugin
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class BetaDARTS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    # weight of the regulariser towards which it grows from 0; `None`: half of T, 1/2 an epoch
    lambda_end: NotNegative | None

    def penalty(self) -> Tensor:
        """Compute the regulariser with the weight of this epoch, over all edges of all cells."""
        edges = torch.cat([alpha_EO.logsumexp(dim=1) for alpha_EO in self.alpha.values()])
        end = self.num_epochs / 2 if self.lambda_end is None else self.lambda_end
        return end * self.epoch / self.num_epochs * edges.mean()

"""DARTS-: Robustly Stepping out of Performance Collapse Without Indicators.

X. Chu, X. Wang, B. Zhang, S. Lu, X. Wei, J. Yan. ICLR 2021, arXiv 2009.01027.

A skip connection in a supernet both competes with the other operations and helps the network to
train, and the help is what makes it win. So each edge gets an auxiliary skip besides, which helps
without competing: with a weight beta of its own that vanishes by the end of the search (Eq. 5).

    for each epoch t of T:
        beta = 1 - t / T
        for each batch of the training half:
            alpha by the gradient of L_val, where an edge computes
                beta * skip(x) + sum over operations o of softmax(alpha)_o * o(x)
            w by the gradient of L_train of the same
    derive the cell from alpha

Deviations:
- The auxiliary skip is the skip among the operations, whose weight beta raises. Where it is the
  identity that is the same; at stride 2, where it has weights, the public code has a second one.
- A space without skip connections has nothing to mend: there it is DARTS.
"""

from __future__ import annotations

import torch

from nasrun.protocols.settings import NotNegative, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class DARTSMinus(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    beta_start: NotNegative  # of the auxiliary skip; it falls to 0 along a line

    def mixture(self) -> Mixture:
        """Eq. 5: the weights of skip lie beyond the simplex by beta."""
        beta = self.beta_start * (1 - self.epoch / self.num_epochs)
        skip_O = torch.tensor([float(name == "skip_connect") for name in self.space.operations])
        relaxed = self.relaxed()
        return Mixture({name: weights_EO + beta * skip_O for name, weights_EO in relaxed.items()})

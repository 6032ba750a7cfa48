"""DrNAS: Dirichlet Neural Architecture Search.

X. Chen, R. Wang, M. Cheng, X. Tang, C.-J. Hsieh. ICLR 2021, arXiv 2006.10355.

The mixing weights of an edge are a sample from a Dirichlet distribution, whose concentration is
learned: samples explore, and their gradients lead through the sampling to the distribution:

    for each epoch:
        for each batch of the training half:
            theta ~ Dirichlet(beta), beta = elu(alpha) + 1, on each edge
            alpha by the pathwise gradient of L_val(w, theta), on a batch of the validation half,
                with L2 decay, or of L_val + kl_scale * KL(Dirichlet(beta) || Dirichlet(1))
            theta ~ Dirichlet(beta) anew
            w by the gradient of L_train(w, theta)
    derive the cell from the mean of the distribution, beta / sum of beta

Deviations:
- One stage, as in the paper on NAS-Bench-201 with all channels; a second one would keep some of the
  operations and more of the channels.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from nasrun.protocols.settings import NotNegative, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class DrNAS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    kl_scale: NotNegative  # of the divergence from the flat distribution; 0 leaves it out

    def mixture(self) -> Mixture:
        """Draw mixing weights, as a function of alpha."""
        # the distributions draw from torch's global generator
        with self.context.streams.global_torch("dirichlet"):
            return Mixture({name: each.rsample() for name, each in self.distributions().items()})

    def relaxed(self) -> dict[str, Tensor]:
        """Return the means of the distributions."""
        return {name: each.mean for name, each in self.distributions().items()}

    def penalty(self) -> Tensor | None:
        """Compute how far the distributions are from flat ones, nats times `kl_scale`."""
        if self.kl_scale == 0:
            return None
        each = [
            kl_divergence(one, Dirichlet(torch.ones_like(one.concentration))).sum()
            for one in self.distributions().values()
        ]
        return self.kl_scale * torch.stack(each).sum()

    def distributions(self) -> dict[str, Dirichlet]:
        """Return the distribution of the mixing weights of each edge; cell type -> E of them."""
        return {name: Dirichlet(concentration(alpha)) for name, alpha in self.alpha.items()}


def concentration(alpha_EO: Tensor) -> Tensor:
    """Compute elu(alpha) + 1, which is positive: alpha + 1, or exp(alpha) below 0.

    The sum itself would round to 0 where alpha is below -17.
    """
    return torch.where(alpha_EO < 0, alpha_EO.clamp(max=0).exp(), alpha_EO + 1)

"""ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware.

H. Cai, L. Zhu, S. Han. ICLR 2019, arXiv 1812.00332.

Binary gates leave one operation of each edge, so that a search needs the memory of one network; a
step of alpha computes two operations and shifts probability from one of them to the other:

    for each epoch:
        for each batch of the training half:
            on each edge draw two operations by p = softmax(alpha), and open the gate g of one of
                them by q = softmax(alpha) of the two
            alpha_i of the two by sum over both j of dL_val/dg_j q_j (1[i = j] - q_i)   (Eq. 4)
            rescale the two alphas, so that the probabilities of all others stay as they were
            on each edge draw one operation by p
            w of these operations by the gradient of L_train
    derive the cell from p

Deviations:
- The latency of the network has no part in the loss.
- Alpha moves before each batch of the weights; in the public code after each fifth one.
- The inactive operation's output, whose gate is 0, leaves batch norm's running statistics alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import Fraction, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch
from nasrun.training.optimisers import Adam


@plugin
class ProxylessNAS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    warmup: Fraction  # share of the epochs in which only the weights are trained

    def __post_init__(self) -> None:
        super().__post_init__()
        self.generator = self.context.streams.torch("paths")
        # without momentum: an operation that is not drawn keeps its alpha
        self.optimiser = Adam(
            list(self.alpha.values()),
            lr=self.alpha_learning_rate,
            betas=(0.0, 0.999),
            weight_decay=self.alpha_weight_decay,
        )

    @property
    def alpha_rests(self) -> bool:
        """Whether the next epoch belongs to the warm-up."""
        return self.epoch < round(self.warmup * self.num_epochs)

    def trained_mixture(self) -> Mixture:
        """Draw one operation for each edge."""
        return self.opened({name: self.drawn(p_EO) for name, p_EO in self.mixing_weights().items()})

    def move_alpha(self) -> Gradient:
        """Follow Eq. 4 on two operations of each edge."""
        batch = self.scorer.draw_batch(self.alpha_images)
        pairs_E2 = {name: self.drawn(p_EO, 2) for name, p_EO in self.mixing_weights().items()}
        pairs = self.pairs(pairs_E2)
        open_E1 = {name: self.drawn(q_EO.detach()) for name, q_EO in pairs.weights.items()}
        gradient = self.scorer.gradient(self.opened(open_E1)._replace(active=pairs.active), batch)
        before = {name: alpha_EO.detach().clone() for name, alpha_EO in self.alpha.items()}
        self.follow(gradient, pairs)
        for name, pair_E2 in pairs_E2.items():
            rescale(self.alpha[name], before[name], pair_E2)
        return gradient

    def pairs(self, pairs_E2: dict[str, Tensor]) -> Mixture:
        """Return q, the softmax over two operations of each edge, as a function of alpha."""
        weights, active = dict[str, Tensor](), dict[str, Tensor]()
        for name, alpha_EO in self.alpha.items():
            chosen_EO = torch.zeros_like(alpha_EO, dtype=torch.bool).scatter(
                1, pairs_E2[name], True
            )
            weights[name] = alpha_EO.masked_fill(~chosen_EO, -torch.inf).softmax(dim=1)
            active[name] = chosen_EO
        return Mixture(weights, active=active)

    def opened(self, chosen: dict[str, Tensor]) -> Mixture:
        """Return the mixture in which the gate of one operation of each edge is open."""
        weights = {
            name: torch.zeros(self.alpha[name].shape).scatter(1, one_E1, 1.0)
            for name, one_E1 in chosen.items()
        }
        return Mixture(weights, active={name: one_EO > 0 for name, one_EO in weights.items()})

    def drawn(self, p_EO: Tensor, count: int = 1) -> Tensor:
        """Draw different operations of each edge by their probabilities: places_EC, C = `count`."""
        # what has rounded to 0 can still be drawn, as two are needed
        possible_EO = p_EO.clamp(min=1e-30)
        return torch.multinomial(possible_EO, count, generator=self.generator)


@torch.no_grad()
def rescale(alpha_EO: Tensor, before_EO: Tensor, pair_E2: Tensor) -> None:
    """Shift the alphas of each edge's pair so that it is as probable, together, as before."""
    both_E1 = (one.gather(1, pair_E2).logsumexp(1, keepdim=True) for one in (before_EO, alpha_EO))
    then_E1, now_E1 = both_E1
    alpha_EO.scatter_add_(1, pair_E2, (then_E1 - now_E1).expand(-1, 2))

"""ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware.

H. Cai, L. Zhu, S. Han. ICLR 2019, arXiv 1812.00332.

Binary gates let one operation of an edge through, so that the supernet costs no more than a
network. Alpha moves by two paths at a time, of which one is open (section 3.2):

    for each batch of the training half:
        draw an operation for each edge by softmax(alpha); w of these by the gradient of L_train
        now and then, after the warm-up:
            draw two operations for each edge by softmax(alpha), p = softmax of their two alphas
            open one gate of each two by p; g = gradients of L_val(w, gates) by both gates
            alpha_i by the gradient sum_j g_j p_j (delta_ij - p_i) (Eq. 4)
            shift both alphas, so that the other operations' probabilities stay
    keep the likeliest operation of each edge

Deviations:
- Latency and the spaces of mobile networks are left out: the method searches any space of cells.
- An open gate of `none` moves alpha as any other does; the public code leaves such an edge alone.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import Count, Fraction, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class ProxylessNAS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    step_cost: ClassVar[str] = "1 path a batch, at times 3"

    warmup: Fraction  # share of the epochs that train weights only
    alpha_every: Count  # batches of the weights for each step of alpha

    def begin_alpha(self) -> None:
        """Give Adam no momentum: it would move operations that were not drawn."""
        super().begin_alpha()
        self.optimiser.param_groups[0]["betas"] = (0.0, 0.999)

    @property
    def alpha_rests(self) -> bool:
        return self.epoch < int(self.warmup * self.num_epochs)

    @property
    def batches_per_move(self) -> int:
        return self.alpha_every

    def trained_mixture(self) -> Mixture:
        """Draw one operation for each edge; no other is computed."""
        drawn = {name: self.draw(p_EO, 1) for name, p_EO in self.mixing_weights().items()}
        return self.gated(drawn, drawn)

    def move_alpha(self) -> Gradient:
        """Compare two paths of each edge."""
        return self.compare({name: self.draw(p, 2) for name, p in self.mixing_weights().items()})

    def compare(self, pairs: dict[str, Tensor]) -> Gradient:
        """Make one step of the alphas of two operations of each edge, by their columns_E2."""
        alphas = {name: self.alpha[name].gather(1, pair_E2) for name, pair_E2 in pairs.items()}
        shares = {name: two_E2.softmax(dim=1) for name, two_E2 in alphas.items()}
        chosen = {name: self.draw(p_E2.detach(), 1) for name, p_E2 in shares.items()}
        open_ = {name: pairs[name].gather(1, place_E1) for name, place_E1 in chosen.items()}
        batch = self.scorer.draw_batch(self.alpha_images)
        gradient = self.scorer.gradient(self.gated(open_, pairs), batch)
        # Eq. 4 is the chain rule through the softmax of the two.
        self.follow(gradient, Mixture(
            {name: torch.zeros_like(self.alpha[name]).scatter(1, pairs[name], p_E2)
             for name, p_E2 in shares.items()}
        ))  # fmt: skip
        with torch.no_grad():
            for name, pair_E2 in pairs.items():
                new_E2 = self.alpha[name].gather(1, pair_E2)
                was_E1 = alphas[name].logsumexp(dim=1, keepdim=True)
                kept_E2 = new_E2 - new_E2.logsumexp(dim=1, keepdim=True) + was_E1
                self.alpha[name].scatter_(1, pair_E2, kept_E2)
        return gradient

    def draw(self, weights_EO: Tensor, number: int) -> Tensor:
        """Draw so many operations of each edge by their weights, none twice: columns_EN."""
        generator = self.context.streams.torch("paths")
        return torch.multinomial(weights_EO, min(number, weights_EO.shape[1]), generator=generator)

    def gated(self, open_: dict[str, Tensor], computed: dict[str, Tensor]) -> Mixture:
        """Open the gates of some operations, and compute others besides; both as columns_EN."""
        weights, active = {}, {}
        for name, alpha_EO in self.alpha.items():
            weights[name] = torch.zeros(alpha_EO.shape).scatter(1, open_[name], 1.0)
            active[name] = torch.zeros(alpha_EO.shape, dtype=torch.bool).scatter(
                1, computed[name], True
            )
        return Mixture(weights, active=active)

"""DrNAS: Dirichlet Neural Architecture Search.

X. Chen, R. Wang, M. Cheng, X. Tang, C.-J. Hsieh. ICLR 2021, arXiv 2006.10355.

The mixing weights of an edge are drawn from a Dirichlet distribution, which alpha shapes: a search
that explores. Draws have a gradient by alpha (section 3.2). A second supernet has fewer operations
and sends more channels through them (section 3.4):

    for each of two stages:
        for each batch of the training half:
            after a few epochs: draw weights ~ Dirichlet(elu(alpha) + 1),
                alpha by the gradient of L_val(w, weights), along the draw, and of the regulariser
            draw weights again; w by the gradient of L_train(w, weights)
        rule out the weakest operations of each edge; widen the supernet
    derive the cell from the mean of the distribution

Deviations:
- Where the supernet is widened, weights whose shapes change begin anew; the paper's are copied.
- The public code ranks edges by the softmax of alpha, not by the mean of the distribution.
- The numbers of operations are shares of the space's, so that spaces of other sizes work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from nasrun.errors import require
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import Channels, Fraction, NotNegative, Positive, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.stages import StagedSearch


@plugin
class DrNAS(StagedSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    partial_channels: list[Channels]  # k of each stage: a k-th of the channels is mixed
    kept_shares: list[Positive]  # of the operations of an edge, in each stage
    warmup: Fraction  # share of each stage's epochs that train weights only
    kl: NotNegative  # weight of the KL divergence from Dirichlet(1); the other is Adam's decay

    def __post_init__(self) -> None:
        number = len(self.partial_channels)
        allowed = f"a list as long as strategy.partial_channels, {number}"
        require(len(self.kept_shares) == number, "strategy.kept_shares", self.kept_shares, allowed)
        channels = self.context.space.channels
        fits = channels == 1 or not any(channels % k for k in self.partial_channels)
        allowed = f"divisors of space.channels={channels}"
        require(fits, "strategy.partial_channels", self.partial_channels, allowed)
        super().__post_init__()

    def supernet_settings(self) -> dict[str, Any]:
        return {"partial_channels": self.partial_channels[0]}

    def stage_settings(self, stage: int) -> dict[str, Any]:
        """Build a wider supernet, of the operations that are left."""
        return {
            "num_epochs": self.num_epochs - self.start(stage),
            "partial_channels": self.partial_channels[stage],
            "active": self.kept,
            "inherited": self.scorer.named_weights(),
        }

    def start(self, stage: int) -> int:
        """Return the epoch with which a stage begins."""
        return stage * self.num_epochs // len(self.kept_shares)

    @property
    def alpha_rests(self) -> bool:
        first, end = self.start(self.stage), self.start(self.stage + 1)
        return self.epoch - first < int(self.warmup * (end - first))

    def step(self) -> StepReport:
        """Make an epoch, of the next stage where one is due."""
        due = max(n for n in range(len(self.kept_shares)) if self.start(n) <= self.epoch)
        if due > self.stage:
            self.open(due)
        return super().step()

    def open(self, stage: int) -> None:
        """Begin a stage: alpha stays for what is left, and is 0 elsewhere."""
        self.keep_strongest(max(1, round(self.kept_shares[stage] * len(self.space.operations))))
        with torch.no_grad():
            for name, alpha_EO in self.alpha.items():
                alpha_EO.mul_(self.kept[name])
        self.enter(stage)

    def mixture(self) -> Mixture:
        """Draw mixing weights, as a function of alpha."""
        with self.context.streams.global_torch("dirichlet"):
            return Mixture({name: drawn(one, self.kept[name]) for name, one in self.alpha.items()})

    def relaxed(self) -> dict[str, Tensor]:
        """Return the means of the distributions."""
        kept = {name: positive(one) * self.kept[name] for name, one in self.alpha.items()}
        return {name: one_EO / one_EO.sum(dim=1, keepdim=True) for name, one_EO in kept.items()}

    def penalty(self) -> Tensor | None:
        """Return the KL divergence from the flat distribution, weighed and added up over edges."""
        if self.kl == 0:
            return None
        all_own = [concentrations(one, self.kept[name]) for name, one in self.alpha.items()]
        flat = (Dirichlet(torch.ones_like(own_EN)) for own_EN in all_own)
        divergences = map(kl_divergence, map(Dirichlet, all_own), flat)
        return self.kl * torch.cat(list(divergences)).sum()


def concentrations(alpha_EO: Tensor, kept_EO: Tensor) -> Tensor:
    """Return elu(alpha) + 1 of the N operations that each edge keeps, concentration_EN."""
    return positive(alpha_EO[kept_EO].view(len(alpha_EO), -1))


def positive(alpha: Tensor) -> Tensor:
    """Return elu(alpha) + 1: alpha + 1, or exp(alpha) where alpha is below 0.

    The sum itself would round to 0 where alpha is below -17, which no distribution takes.
    """
    return torch.where(alpha < 0, alpha.clamp(max=0).exp(), alpha + 1)


def drawn(alpha_EO: Tensor, kept_EO: Tensor) -> Tensor:
    """Draw weights_EO ~ Dirichlet(elu(alpha) + 1) of the kept operations; others have none.

    torch's global generator is used. A draw is a function of alpha, with a gradient.
    """
    sample_EN = Dirichlet(concentrations(alpha_EO, kept_EO)).rsample()
    return torch.zeros_like(alpha_EO).masked_scatter(kept_EO, sample_EN)

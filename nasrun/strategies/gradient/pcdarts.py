"""PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search.

Y. Xu, L. Xie, X. Zhang, X. Chen, G. Qi, Q. Tian, H. Xiong. ICLR 2020, arXiv 1907.05737.

Only 1/k of the channels goes through the operations of an edge, the rest bypasses them, which saves
memory and weakens the lead of operations without weights. Which edges a node reads is learnt apart,
by beta: edge e counts by the softmax of beta over the edges that enter the same node (Eq. 3).

    for each epoch:
        for each batch of the training half:
            after the warm-up, alpha and beta by the gradient of L_val, as in DARTS
            w by the gradient of L_train
    derive the cell from softmax(alpha) * softmax(beta)

Deviations:
- The warm-up of 15 of 50 epochs is a share (0.3) of any number of epochs.
- The channels that are mixed are the same in every batch, as in the public code; so is the shuffle.
- In a space whose edges are all kept (NAS-Bench-201), beta changes the search and not the decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import Count, Fraction, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch, constant, copied, put_back


@plugin
class PCDARTS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    warmup: Fraction  # share of the epochs in which only the weights are trained
    partial_channels: Count  # k: 1/k of the channels go through the operations; 1 is all

    def __post_init__(self) -> None:
        super().__post_init__()
        generator = self.context.streams.torch("beta")
        self.beta = {
            name: (1e-3 * torch.randn(num_edges, generator=generator)).requires_grad_()
            for name, (num_edges, _) in self.space.alpha_shapes.items()
        }
        self.optimiser.add_param_group({"params": list(self.beta.values())})

    def supernet_settings(self) -> dict[str, Any]:
        require(
            self.space.channels % self.partial_channels == 0 or self.space.channels == 1,
            "strategy.partial_channels",
            self.partial_channels,
            f"a divisor of space.channels={self.space.channels}",
        )
        return {"partial_channels": self.partial_channels}

    @property
    def alpha_rests(self) -> bool:
        return self.epoch < round(self.warmup * self.num_epochs)

    def mixture(self) -> Mixture:
        """Eq. 3: edges are weighed by beta, and their operations by alpha."""
        gates = {
            name: edge_normalisation(beta_E, self.space.edges) for name, beta_E in self.beta.items()
        }
        return Mixture(self.relaxed(), gates)

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell from the products of alpha's and beta's weights."""
        weights, gates, _ = constant(self.mixture())
        return (self.space.discretise(weights, gates),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"beta": copied(self.beta)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        put_back(self.beta, state["beta"])


def edge_normalisation(beta_E: Tensor, edges: Sequence[tuple[int, int]]) -> Tensor:
    """Apply the softmax to the edges that enter the same node; gates_E."""
    target_E = torch.tensor([target for _, target in edges])
    same_EE = target_E[:, None] == target_E  # row e marks the edges that compete with e
    return (beta_E - beta_E.masked_fill(~same_EE, -torch.inf).logsumexp(dim=1)).exp()

"""DSNAS: Direct Neural Architecture Search without Parameter Retraining.

S. Hu, S. Xie, H. Zheng, C. Liu, J. Shi, X. Liu, D. Lin. CVPR 2020, arXiv 2002.09128.

Each batch draws one operation per edge and computes no other. The weights follow the ordinary
gradient of that network, alpha a score function: an edge is charged the derivative of the loss by
the weight Z (= 1) of its drawn operation. Edges that are sure of their operation are fixed early.

    for each epoch:
        fix the edges whose two largest softmax(alpha) differ by fixing_gap or more
        for each batch of the training half:
            Z one-hot from softmax(alpha); of a fixed edge, its strongest operation
            w by the gradient of L_train(w, Z)
            alpha by dL_train/dZ times the gradient of log softmax(alpha) at Z, edge by edge
    derive the cell from alpha

Deviations:
- alpha starts at 1e-3 * N(0, 1) and is trained by Adam, as in DARTS.
- Cells of one type share a draw; the paper's space has a choice of its own in each block.
- The result is retrained like all others; the paper goes on with the weights of the search.
- The training half is half of the images, so that methods compare; the paper trains on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from nasrun.protocols.settings import PositiveShare, plugin
from nasrun.protocols.space import MixingWeights, Mixture
from nasrun.strategies.gradient.base import SingleLevelSearch
from nasrun.strategies.gradient.samplers import strongest


@plugin
class DSNAS(SingleLevelSearch):
    """The strategy; see the module's docstring, and `AlphaSearch` for its other settings."""

    step_cost: ClassVar[str] = "1 path a batch"

    fixing_gap: PositiveShare  # between the two largest probabilities of an edge; 1 is hardly ever

    def __post_init__(self) -> None:
        super().__post_init__()
        self.fixed = {
            name: torch.zeros(num_edges, dtype=torch.bool)
            for name, (num_edges, _) in self.space.alpha_shapes.items()
        }

    def train(self) -> dict[str, float]:
        """Fix the edges that are sure, and train for an epoch."""
        for name, p_EO in self.mixing_weights().items():
            largest_E2 = p_EO.topk(min(2, p_EO.shape[1]), dim=1).values
            self.fixed[name] |= largest_E2[:, 0] - largest_E2[:, -1] >= self.fixing_gap
        num_fixed = float(sum(int(fixed_E.sum()) for fixed_E in self.fixed.values()))
        return super().train() | {"num_fixed_edges": num_fixed}

    def mixture(self) -> Mixture:
        """Draw Z, and compute nothing else."""
        generator = self.context.streams.torch("sample")
        weights = {}
        for name, alpha_EO in self.alpha.items():
            fixed_E1, drawn_EO = self.fixed[name][:, None], score_function(alpha_EO, generator)
            weights[name] = torch.where(fixed_E1, strongest(alpha_EO.detach()), drawn_EO)
        active = {name: weights_EO.detach() > 0.5 for name, weights_EO in weights.items()}
        return Mixture(weights, active=active)

    def move_alpha(self, of_weights: MixingWeights, drawn: Mixture) -> None:
        """Follow the score function; the alpha of fixed edges stays, whatever Adam remembers."""
        before = {name: alpha_EO.detach().clone() for name, alpha_EO in self.alpha.items()}
        super().move_alpha(of_weights, drawn)
        with torch.no_grad():
            for name, alpha_EO in self.alpha.items():
                alpha_EO[self.fixed[name]] = before[name][self.fixed[name]]

    def state_dict(self) -> dict[str, Any]:
        fixed = {name: fixed_E.clone() for name, fixed_E in self.fixed.items()}
        return super().state_dict() | {"fixed": fixed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.fixed = {name: fixed_E.clone() for name, fixed_E in state["fixed"].items()}


def score_function(alpha_EO: Tensor, generator: Generator) -> Tensor:
    """Draw one-hot rows Z from p = softmax(alpha), whose gradient is that of Z * log p."""
    log_p_EO = alpha_EO.log_softmax(dim=1)
    drawn_E1 = torch.multinomial(log_p_EO.detach().exp(), 1, generator=generator)
    z_EO = torch.zeros_like(log_p_EO.detach()).scatter(1, drawn_E1, 1.0)
    return z_EO * (1 + (log_p_EO - log_p_EO.detach()))

"""BayesNAS: A Bayesian Approach for Neural Architecture Search.

H. Zhou, M. Yang, J. Wang, W. Pan. ICML 2019, arXiv 1905.04919.

Each operation has a switch s, and so has each edge, above those of its operations. The prior of a
switch is N(0, gamma); what the data do not need gets a narrow one. Each iteration weighs an L1 norm
anew (Algorithm 1, as in the public code):

    train w for some epochs, all switches at 1
    for each epoch:
        for each batch of the training half:
            s by the gradient of L_val(w, s) + sum of lambda omega |s|
            w by the gradient of L_train(w, s)
        C = 1 / (1 / gamma + H / lambda), H the second derivative of L by s
        omega = sqrt(1 / gamma - C / gamma^2)
        gamma = |s| / omega; that of an operation 1 / (1 / gamma + 1 / gamma of its edge)
    derive the cell from gamma; `none` wins where no entropy ln(2 pi e gamma) / 2 is above 0

Deviations:
- H is the Fisher information, the mean square of the batches' gradients times the images of a
  batch; the public code propagates squares back through the layers.
- The paper makes one iteration, and each epoch after the warm-up is one here.
- Switches belong to a type of cell, not to each cell. They move on images of the validation half.
- Gamma is 1 at first (in the public code random), and 0 for what has no influence at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import Fraction, Positive, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch, copied, put_back
from nasrun.training.optimisers import SGD

NO_ENTROPY = 1 / (2 * math.pi * math.e)  # the gamma at which ln(2 pi e gamma) / 2 is 0


@plugin
class BayesNAS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    needs_weights: ClassVar[bool] = True

    warmup: Fraction  # share of the epochs that train weights only
    edge_sparsity: Positive  # lambda of the switches of edges
    operation_sparsity: Positive  # lambda of the switches of operations

    def __post_init__(self) -> None:
        super().__post_init__()
        # cell type, and "edges" or "operations" -> gamma and omega of the switches
        self.gamma = {key: torch.ones_like(one) for key, one in self.switches.items()}
        self.omega = {key: torch.ones_like(one) for key, one in self.switches.items()}
        self.seen = list[Gradient]()  # of an epoch

    def begin_alpha(self) -> None:
        """Switch everything on; the switches of operations are this method's alpha."""
        shapes = self.space.alpha_shapes
        self.alpha = {name: torch.ones(shape, requires_grad=True) for name, shape in shapes.items()}
        self.edges = {
            name: torch.ones(shape[0], requires_grad=True) for name, shape in shapes.items()
        }
        self.optimiser = SGD(
            [*self.alpha.values(), *self.edges.values()],
            lr=self.alpha_learning_rate,
            momentum=0.9,
            weight_decay=self.alpha_weight_decay,
        )

    @property
    def switches(self) -> dict[str, Tensor]:
        """Return those of operations, then those of edges, by cell type and kind."""
        operations = {f"{name}.operations": one_EO for name, one_EO in self.alpha.items()}
        return operations | {f"{name}.edges": one_E for name, one_E in self.edges.items()}

    def sparsity(self, key: str) -> float:
        return self.edge_sparsity if key.endswith(".edges") else self.operation_sparsity

    @property
    def alpha_rests(self) -> bool:
        """Whether the next epoch belongs to the warm-up."""
        return self.epoch < int(self.warmup * self.num_epochs)

    def mixture(self) -> Mixture:
        return Mixture(dict(self.alpha), dict(self.edges))

    def penalty(self) -> Tensor:
        """Compute the weighted L1 norm of the switches."""
        each = [
            self.sparsity(key) * (self.omega[key] * one.abs()).sum()
            for key, one in self.switches.items()
        ]
        return torch.stack(each).sum()

    def gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        self.seen.append(super().gradient(mixture, batch))
        return self.seen[-1]

    def train(self) -> dict[str, float]:
        """Move switches and weights in turn, then infer the priors anew."""
        self.seen.clear()
        figures = super().train()
        if self.seen:
            self.infer_priors()
            figures["prior_entropy"] = self.entropy()
        return figures

    def infer_priors(self) -> None:
        """Update omega and gamma of all switches by the gradients of an epoch."""
        for name in self.alpha:
            gates = [one.of_gates[name] for one in self.seen if one.of_gates is not None]
            slopes = {
                f"{name}.operations": torch.stack([one.of_weights[name] for one in self.seen]),
                f"{name}.edges": torch.stack(gates),
            }
            for key, slope_N in slopes.items():
                fisher = self.alpha_images * slope_N.square().mean(dim=0)
                switch = self.switches[key].detach()
                curvature = fisher / self.sparsity(key)
                self.omega[key], self.gamma[key] = inferred(switch, self.gamma[key], curvature)
            of_edge_E1 = self.gamma[f"{name}.edges"][:, None]
            own_EO = self.gamma[f"{name}.operations"]
            self.gamma[f"{name}.operations"] = 1 / (1 / own_EO + 1 / of_edge_E1)

    def entropy(self) -> float:
        """Return the mean entropy of the operations' priors, nats, without those of no width."""
        gammas = torch.cat([self.gamma[f"{name}.operations"].flatten() for name in self.alpha])
        wide = gammas[gammas > 0]
        return float((wide / NO_ENTROPY).log().mean()) / 2 if len(wide) > 0 else 0.0

    def relaxed(self) -> dict[str, Tensor]:
        """Return the shares that operations have of the gammas of their edge."""
        tiny = torch.finfo(torch.float32).tiny  # an edge may have no gamma above 0
        gammas = {name: self.gamma[f"{name}.operations"].clamp(min=tiny) for name in self.alpha}
        return {name: one_EO / one_EO.sum(dim=1, keepdim=True) for name, one_EO in gammas.items()}

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell of the widest priors."""
        gammas = {name: self.gamma[f"{name}.operations"].clone() for name in self.alpha}
        if "none" in self.space.operations:
            for gamma_EO in gammas.values():
                gamma_EO[:, self.space.operations.index("none")] = NO_ENTROPY
        return (self.space.discretise(gammas),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "edges": copied(self.edges),
            "gamma": dict(self.gamma),
            "omega": dict(self.omega),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        put_back(self.edges, state["edges"])
        self.gamma, self.omega = dict(state["gamma"]), dict(state["omega"])


def inferred(switch: Tensor, gamma: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next omega and gamma of switches whose loss has a curvature, H / lambda.

    With C = 1 / (1 / gamma + h) the root of 1 / gamma - C / gamma^2 is that of h / (1 + gamma h).
    """
    omega = (curvature / (1 + gamma * curvature)).sqrt()
    return omega, torch.where(omega > 0, switch.abs() / omega, 0.0)

"""Share what the searches have that move alpha by gradients: alphas, their optimiser, the epoch.

Shapes: E edges, O operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import DifferentiableSpace, MixingWeights, Mixture
from nasrun.protocols.strategy import Strategy
from nasrun.training.optimisers import Adam


class AlphaSearch(Strategy, ABC):
    """A strategy whose step is an epoch. A subclass says how alpha moves before each batch.

    Args:
        num_epochs: of the search.
        alpha_learning_rate, alpha_weight_decay: of Adam on alpha, whose betas are 0.5 and 0.999 in
            DARTS and all that followed it.
        weights: the settings of the training of the shared weights, see `SupernetScorer`.
    """

    unit: ClassVar[str] = "epoch"
    needs_alphas: ClassVar[bool] = True
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.alpha_learning_rate",
        "collapse": "a lower strategy.alpha_learning_rate and fewer epochs are worth a try",
    }

    def __init__(
        self,
        context: SearchContext,
        num_epochs: int,
        alpha_learning_rate: float,
        alpha_weight_decay: float,
        **weights: Any,
    ) -> None:
        self.num_epochs = num_epochs
        self.space: DifferentiableSpace = context.space
        self.scorer = context.scorer(num_epochs=num_epochs, **weights)
        generator = context.streams.torch("alpha")
        self.alpha = {
            name: (1e-3 * torch.randn(shape, generator=generator)).requires_grad_()
            for name, shape in self.space.alpha_shapes.items()
        }
        self.optimiser = Adam(
            list(self.alpha.values()),
            lr=alpha_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=alpha_weight_decay,
        )
        self.epoch = 0

    @abstractmethod
    def move_alpha(self) -> Gradient:
        """Make one step of alpha, before a batch of the weights."""

    @property
    def total_steps(self) -> int:
        return self.num_epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.num_epochs

    def step(self) -> StepReport:
        """Move alpha and the weights in turn, over one pass of the training half."""
        before, seen = self.mixing_weights(), list[Gradient]()
        trained = self.scorer.train_epoch(
            lambda: Mixture(self.mixing_weights()), lambda: seen.append(self.move_alpha())
        )
        self.epoch += 1
        after = self.mixing_weights()
        moved_E = [(after[name] - before[name]).abs().sum(dim=1) / 2 for name in after]
        figures = {f"train_{name}": value for name, value in trained.items()} | {
            "val_loss": sum(one.loss for one in seen) / len(seen),
            "val_accuracy": sum(one.accuracy for one in seen) / len(seen),
            "weights_step": float(torch.cat(moved_E).mean()),
            "scorings": float(self.scorer.num_scorings),
        }
        return StepReport(figures, incumbent=self.best()[0], weights=after)

    def follow(self, gradient: Gradient) -> None:
        """Make one step of Adam, by the chain rule from the mixing weights to alpha."""
        self.optimiser.zero_grad()
        weights = self.relaxed()
        torch.autograd.backward(
            list(weights.values()), [gradient.of_weights[name] for name in weights]
        )
        self.optimiser.step()

    def relaxed(self) -> dict[str, Tensor]:
        """Apply the softmax to the operations of each edge; cell type -> weights_EO."""
        return {name: alpha_EO.softmax(dim=1) for name, alpha_EO in self.alpha.items()}

    def mixing_weights(self) -> MixingWeights:
        """Return the same as constants."""
        return {name: weights_EO.detach() for name, weights_EO in self.relaxed().items()}

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell that alpha stands for now."""
        return (self.space.discretise(self.mixing_weights()),)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "alpha": {name: alpha_EO.detach().clone() for name, alpha_EO in self.alpha.items()},
            "optimiser": self.optimiser.state_dict(),
            "scorer": self.scorer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        with torch.no_grad():
            for name, alpha_EO in self.alpha.items():
                alpha_EO.copy_(state["alpha"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scorer.load_state_dict(state["scorer"])

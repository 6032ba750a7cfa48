"""Share what the searches have that move alpha by gradients: alphas, their optimiser, the epoch.

Shapes: E edges, O operations.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import NotNegative, Positive, plugin
from nasrun.protocols.space import MixingWeights, Mixture, Statistics
from nasrun.strategies.supernet import SupernetSearch
from nasrun.training.optimisers import Adam


@plugin
class AlphaSearch(SupernetSearch):
    """A search that moves alpha by gradients; a subclass says how, before each batch."""

    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.alpha_learning_rate",
        "collapse": "a lower strategy.alpha_learning_rate and fewer epochs are worth a try",
    }

    alpha_learning_rate: Positive  # of Adam; its betas are .5 and .999, as in all that follow DARTS
    alpha_weight_decay: NotNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        generator = self.context.streams.torch("alpha")
        self.alpha = {
            name: (1e-3 * torch.randn(shape, generator=generator)).requires_grad_()
            for name, shape in self.space.alpha_shapes.items()
        }
        self.optimiser = Adam(
            list(self.alpha.values()),
            lr=self.alpha_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=self.alpha_weight_decay,
        )

    @abstractmethod
    def move_alpha(self) -> Gradient:
        """Make one step of alpha, before a batch of the weights."""

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

    def final_mixture(self) -> tuple[Mixture, Statistics]:
        return Mixture(self.mixing_weights()), "batch"

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell that alpha stands for now."""
        return (self.space.discretise(self.mixing_weights()),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "alpha": {name: alpha_EO.detach().clone() for name, alpha_EO in self.alpha.items()},
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            for name, alpha_EO in self.alpha.items():
                alpha_EO.copy_(state["alpha"][name])
        self.optimiser.load_state_dict(state["optimiser"])

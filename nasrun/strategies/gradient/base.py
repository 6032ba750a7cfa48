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
from nasrun.protocols.settings import BatchImages, NotNegative, Positive, plugin
from nasrun.protocols.space import MixingWeights, Mixture, Statistics
from nasrun.strategies.supernet import SupernetSearch, weights_step
from nasrun.training.optimisers import Adam


@plugin
class AlphaSearch(SupernetSearch):
    """A search that moves alpha by gradients; a subclass says on which images, and by what rule."""

    maximises_metric: ClassVar[bool] = False
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.alpha_learning_rate",
        "collapse": "a lower strategy.alpha_learning_rate and fewer epochs are worth a try",
    }

    alpha_learning_rate: Positive  # of Adam; its betas are .5 and .999, as in all that follow DARTS
    alpha_weight_decay: NotNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        self.begin_alpha()

    def begin_alpha(self) -> None:
        """Draw alphas close to zero, and give them an optimiser."""
        generator = self.context.streams.torch("alpha")
        self.alpha = {
            name: (1e-3 * torch.randn(shape, generator=generator)).requires_grad_()
            for name, shape in self.space.alpha_shapes.items()
        }
        self.optimiser: torch.optim.Optimizer = Adam(
            list(self.alpha.values()),
            lr=self.alpha_learning_rate,
            betas=(0.5, 0.999),
            weight_decay=self.alpha_weight_decay,
        )

    @property
    def alpha_rests(self) -> bool:
        """Whether the next epoch trains the weights alone."""
        return False

    def step(self) -> StepReport:
        """Make one epoch: a pass over the training half, in which alpha moves unless it rests."""
        before, resting = self.mixing_weights(), self.alpha_rests
        figures = self.train()
        self.epoch += 1
        after = self.mixing_weights()
        if not resting:
            figures["weights_step"] = weights_step(before, after)
        figures["scorings"] = float(self.num_scorings)
        return StepReport(figures, incumbent=self.best()[0], weights=after)

    @abstractmethod
    def train(self) -> dict[str, float]:
        """Train the weights in one pass, and alpha unless it rests; return figures of the epoch."""

    def mixture(self) -> Mixture:
        """Return what a pass through the supernet mixes, as a function of alpha.

        It is the relaxation, or a sample that is drawn anew in each call.
        """
        return Mixture(self.relaxed())

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss of alpha, if anything is."""
        return None

    def follow(self, gradient: Gradient, mixture: Mixture | None = None) -> None:
        """Make one step of Adam, by the chain rule from a mixture to alpha.

        Args:
            gradient: of the loss by the mixture.
            mixture: as `mixture()` has returned it; `None` takes it anew.
        """
        weights, gates, _ = self.mixture() if mixture is None else mixture
        outputs, slopes = list(weights.values()), [gradient.of_weights[name] for name in weights]
        if gates is not None and gradient.of_gates is not None:
            moving = [name for name in gates if gates[name].requires_grad]
            outputs += [gates[name] for name in moving]
            slopes += [gradient.of_gates[name] for name in moving]
        self.descend(outputs, slopes)

    def descend(self, outputs: list[Tensor], slopes: list[Tensor]) -> None:
        """Make one step of Adam against a loss, of which d loss / d outputs are the slopes.

        The penalty is added to the loss.
        """
        penalty = self.penalty()
        if penalty is not None:
            outputs, slopes = [*outputs, penalty], [*slopes, torch.ones_like(penalty)]
        self.optimiser.zero_grad()
        torch.autograd.backward(outputs, slopes)
        self.optimiser.step()

    def relaxed(self) -> dict[str, Tensor]:
        """Apply the softmax to the operations of each edge; cell type -> weights_EO."""
        return {name: alpha_EO.softmax(dim=1) for name, alpha_EO in self.alpha.items()}

    def mixing_weights(self) -> MixingWeights:
        """Return what `relaxed` returns, as constants."""
        return {name: weights_EO.detach() for name, weights_EO in self.relaxed().items()}

    def final_mixture(self) -> tuple[Mixture, Statistics]:
        return Mixture(self.mixing_weights()), "batch"

    def best(self) -> tuple[Genotype, ...]:
        """Derive the cell that alpha stands for now."""
        return (self.space.discretise(self.mixing_weights()),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "alpha": copied(self.alpha),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        put_back(self.alpha, state["alpha"])
        self.optimiser.load_state_dict(state["optimiser"])


@plugin
class BilevelSearch(AlphaSearch):
    """A search that moves alpha on the validation half, before each batch of the weights."""

    alpha_images: BatchImages  # of the validation half, behind a step of alpha

    @property
    def batches_per_move(self) -> int:
        """Return how many batches of the weights there are for each step of alpha."""
        return 1

    def train(self) -> dict[str, float]:
        """Move alpha and the weights in turn; an epoch begins with alpha."""
        self.batch = -1  # the number of a batch in its epoch
        seen = list[Gradient]()

        def before_batch() -> None:
            self.batch += 1
            if self.batch % self.batches_per_move == 0:
                seen.append(self.move_alpha())

        trained = self.scorer.train_epoch(
            self.trained_mixture, None if self.alpha_rests else before_batch
        )
        figures = {f"train_{name}": value for name, value in trained.items()}
        if seen:
            figures["val_loss"] = sum(one.loss for one in seen) / len(seen)
            figures["val_accuracy"] = sum(one.accuracy for one in seen) / len(seen)
        return figures

    def trained_mixture(self) -> Mixture:
        """Return the mixture under which the weights are trained on a batch."""
        return constant(self.mixture())

    def move_alpha(self) -> Gradient:
        """Make one step of alpha, before a batch of the weights."""
        batch, mixture = self.scorer.draw_batch(self.alpha_images), self.mixture()
        gradient = self.gradient(constant(mixture), batch)
        self.follow(gradient, mixture)
        return gradient

    def gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        """Differentiate L_val by the mixture, with w held."""
        return self.scorer.gradient(mixture, batch)


@plugin
class SingleLevelSearch(AlphaSearch):
    """A search that moves alpha by the loss of the training half, together with the weights.

    One pass through the supernet serves both, on the same images and under the same mixture.
    """

    def train(self) -> dict[str, float]:
        """Move the weights and alpha by the gradient of one loss."""
        drawn: Mixture  # of the batch in work

        def next_mixture() -> Mixture:
            nonlocal drawn
            drawn = self.mixture()
            return constant(drawn)

        trained = self.scorer.train_epoch(
            next_mixture, after_batch=lambda of_weights: self.move_alpha(of_weights, drawn)
        )
        return {f"train_{name}": value for name, value in trained.items()}

    def move_alpha(self, of_weights: MixingWeights, drawn: Mixture) -> None:
        """Follow the gradient of L_train, after the batch whose mixture was `drawn`."""
        self.descend(list(drawn.weights.values()), [of_weights[name] for name in drawn.weights])


def constant(mixture: Mixture) -> Mixture:
    """Return a mixture as numbers, cut off from alpha."""
    weights, gates, active = mixture
    return Mixture(
        {name: weights_EO.detach() for name, weights_EO in weights.items()},
        None if gates is None else {name: gates_E.detach() for name, gates_E in gates.items()},
        active,
    )


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors by their names, cut off from what they are functions of, for a checkpoint."""
    return {name: one.detach().clone() for name, one in tensors.items()}


def put_back(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Write saved numbers into tensors that an optimiser knows."""
    with torch.no_grad():
        for name, one in own.items():
            one.copy_(saved[name])

"""Shapley-NAS: Discovering Operation Contribution for Neural Architecture Search.

H. Xiao, Z. Wang, Z. Zhu, J. Zhou, J. Lu. CVPR 2022, arXiv 2206.09811.

The operations of all edges are the players of a game whose worth is the validation accuracy of the
supernet. What an operation contributes is its Shapley value: what the accuracy falls by when the
operation is taken out, as a mean over all orders in which operations can be taken out. It is
estimated from a few random orders, and alpha moves by it in place of a gradient:

    for each epoch after the warm-up:
        for each of R random orders of all operations, on a batch of the validation half:
            take one operation after the other out (its mixing weight becomes 0)
            until the accuracy is below a share of what it was: the others contribute nothing here
        phi = mean of the contributions over the orders
        m = mu m + (1 - mu) standardised phi, for each type of cell;   alpha = alpha + xi m
        train w for an epoch under softmax(alpha)
    derive the cell from alpha

Deviations:
- How phi is normalised is taken from the public code. It subtracts the standard deviation over the
  orders besides, which `strategy.caution=1` does; what matters is then ranked below what does not
  wherever a contribution varies more than it is large.
- The running mean m begins at zero, not at small random numbers.
- `strategy.worth=loss` counts what the cross-entropy rises by, which is finer where there are few
  images, or where the accuracy does not tell. That of the toy space hardly depends on gains: there
  the best operations are found by the loss, and by the accuracy they are not.

Shapes: E edges, O operations, P players, all operations of all edges of all types of cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from nasrun.protocols.settings import (
    BatchImages,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Probability,
    plugin,
)
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import RelaxedSearch, copied

TOGETHER = 8  # candidates of an order that are scored in one call


@plugin
class ShapleyNAS(RelaxedSearch):
    """The strategy; see the module's docstring.

    Args:
        warmup: share of the epochs that train weights only.
        num_orders: R.
        shapley_images: of the validation half, behind the scores of an order.
        truncation: share of the accuracy at which an order ends; 0 is off.
        worth: of a set of operations: the accuracy, or the cross-entropy, with a minus.
        caution: deviations over the orders that are subtracted from the mean.
        shapley_momentum: mu.
        step_size: xi.
    """

    step_cost: ClassVar[str] = "1 gradient a batch, scores"
    remedies: ClassVar[Mapping[str, str]] = {
        "rest": "raise strategy.step_size",
        "collapse": "more strategy.num_orders and a longer strategy.warmup are worth a try",
    }

    warmup: Fraction
    num_orders: Count
    shapley_images: BatchImages
    truncation: Probability
    worth: Literal["accuracy", "loss"]
    caution: NotNegative
    shapley_momentum: Fraction
    step_size: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rng = self.context.streams.numpy("search")
        self.average = {name: torch.zeros_like(alpha_EO) for name, alpha_EO in self.alpha.items()}
        self.players = [
            (name, edge, operation)
            for name, alpha_EO in self.alpha.items()
            for edge, operation in np.ndindex(*alpha_EO.shape)
        ]

    @property
    def alpha_rests(self) -> bool:
        return self.epoch < int(self.warmup * self.num_epochs)

    def train(self) -> dict[str, float]:
        """Move alpha by what the operations contribute, then train the weights."""
        figures = {} if self.alpha_rests else self.move_alpha()
        weights = self.mixing_weights()
        trained = self.scorer.train_epoch(lambda: Mixture(weights))
        return figures | {f"train_{name}": value for name, value in trained.items()}

    def move_alpha(self) -> dict[str, float]:
        """Estimate the Shapley values, and make one step along their running mean."""
        accuracies, contributions = list[float](), list[np.ndarray]()
        for number in range(self.num_orders):
            order = self.rng.permutation(len(self.players)).tolist()
            worths, accuracy = self.worths_along(order)
            contributions.append(contributed(order, worths))
            accuracies.append(accuracy)
            self.context.progress(number + 1, self.num_orders)
        phi_P = np.mean(contributions, axis=0) - self.caution * np.std(contributions, axis=0)
        sizes = [alpha_EO.numel() for alpha_EO in self.alpha.values()]
        parts = torch.split(torch.from_numpy(phi_P).float(), sizes)
        for (name, alpha_EO), part in zip(self.alpha.items(), parts, strict=True):
            phi_EO = standardised(part).view_as(alpha_EO)
            mu = self.shapley_momentum
            self.average[name] = mu * self.average[name] + (1 - mu) * phi_EO
            with torch.no_grad():
                alpha_EO.add_(self.step_size * self.average[name])
        removed = np.count_nonzero(contributions, axis=1).mean()
        return {"val_accuracy": float(np.mean(accuracies)), "contributing": float(removed)}

    def worths_along(self, order: Sequence[int]) -> tuple[list[float], float]:
        """Take players out one by one, on a batch of images.

        Returns:
            The worth of all players, of all but the first of the order, of all but its first two,
            and so on until the accuracy is too low; and the accuracy of all.
        """
        batch = self.scorer.draw_batch(self.shapley_images)
        weights = copied(self.mixing_weights())
        candidates = [Mixture(copied(weights))]
        for name, edge, operation in (self.players[place] for place in order):
            weights[name][edge, operation] = 0.0
            candidates.append(Mixture(copied(weights)))
        worths, whole = list[float](), 0.0
        for first in range(0, len(candidates), TOGETHER):
            scores = self.scorer.score(candidates[first : first + TOGETHER], batch)
            worth_N = scores.accuracy_N if self.worth == "accuracy" else -scores.loss_N
            if first == 0:
                whole = float(scores.accuracy_N[0])
            for worth, accuracy in zip(worth_N.tolist(), scores.accuracy_N.tolist(), strict=True):
                worths.append(worth)
                if accuracy < self.truncation * whole:
                    return worths, whole
        return worths, whole

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"average": copied(self.average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.average = copied(state["average"])


def contributed(order: Sequence[int], worths: Sequence[float]) -> np.ndarray:
    """Return contribution_P: what the worth fell by as each player was taken out.

    `worths` begins with that of all players. Those whose turn did not come contribute 0.
    """
    contribution_P = np.zeros(len(order))
    contribution_P[list(order[: len(worths) - 1])] = -np.diff(worths)
    return contribution_P


def standardised(values: Tensor) -> Tensor:
    """Return values with the mean 0 and the deviation 1; zeros where all are equal."""
    centred = values - values.mean()
    deviation = values.std()
    return centred / deviation if deviation > 0 else torch.zeros_like(values)

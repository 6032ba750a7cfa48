"""Update the weights of a network by SGD, and refuse a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.errors import RunError
from nasrun.protocols.settings import WeightTraining
from nasrun.training.optimisers import SGD
from nasrun.training.schedule import Shape, make_schedule


class WeightUpdate:
    """SGD with momentum, clipped gradients and a learning rate that falls from epoch to epoch.

    The rate goes from `learning_rate` to `learning_rate_min` along a cosine, or as `schedule` says,
    one step per epoch. `besides` are tensors that gather gradients in the same passes, and are not
    updated: what a failed attempt at a batch has left in them is cleared with that of the weights.
    """

    besides: Sequence[Tensor] = ()

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        training: WeightTraining,
        *,
        num_epochs: int,
        nesterov: bool = False,
        schedule: Shape = "cosine",
        warmup_epochs: int = 0,
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimiser = SGD(
            self.parameters,
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=nesterov,
        )
        self.schedule = make_schedule(
            self.optimiser, schedule, max(1, num_epochs), training.learning_rate_min, warmup_epochs
        )
        self._gradient_clip = training.gradient_clip

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimiser.zero_grad(set_to_none=True)
        for tensor in self.besides:
            tensor.grad = None

    def add(self, loss: Tensor, share: float) -> None:
        """Add the gradient of the loss of a part of the batch, which is `share` of it."""
        # not backward(share): a gradient that is given makes torch import sympy, for a second
        (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]

    def step(self, loss: Tensor) -> None:
        """Update the weights once by the gradients.

        Raises:
            RunError: the loss of the batch, or a gradient, is not finite; nothing is updated.
        """
        limit = self._gradient_clip if self._gradient_clip > 0 else math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        if not torch.isfinite(loss + norm):  # one check, as each waits for the device
            require_finite(loss, "training loss")
            require_finite(norm, "norm of the gradient")
        self.optimiser.step()

    def end_epoch(self) -> None:
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def require_finite(value: Tensor, name: str, to_lower: str = "") -> None:
    """Raise a `RunError` unless a scalar is finite; `to_lower` are the settings that may help."""
    if not torch.isfinite(value):
        advice = f": lower {to_lower}" if to_lower else ""
        raise RunError(f"the {name} is {value.item()}{advice}")

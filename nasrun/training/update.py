"""Update the weights of a network by SGD, and refuse a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.compute.transfers import read, updates_between_looks
from nasrun.errors import RunError
from nasrun.protocols.settings import WeightTraining
from nasrun.training.optimisers import SGD
from nasrun.training.schedule import Shape, make_schedule


class NotFinite(RunError):
    """A loss or a gradient is not finite; `ago` counts the updates that were made since."""

    def __init__(self, message: str, ago: int) -> None:
        super().__init__(message)
        self.ago = ago


class WeightUpdate:
    """SGD with momentum, clipped gradients and a learning rate that falls from epoch to epoch.

    The rate goes from `learning_rate` to `learning_rate_min` along a cosine, or as `schedule` says,
    one step per epoch. `besides` are tensors that gather gradients in the same passes, and are not
    updated: what a failed attempt at a batch has left in them is cleared with that of the weights.

    A loss that is not finite ends the run. Where the host would wait for the device to see one, it
    looks now and then, and at the end of an epoch: weights that were spoiled in between are not
    kept, since checkpoints are written later.
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
        self._unread: list[Tensor] = []  # (loss, norm of the gradient) of updates not looked at yet

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
            NotFinite: the loss of a batch, or a gradient, is not finite: of this one, which is then
                not updated by, or on a GPU of one of those before.
        """
        limit = self._gradient_clip if self._gradient_clip > 0 else math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        self._unread.append(torch.stack([loss.detach(), norm.to(loss.dtype)]))
        if len(self._unread) >= updates_between_looks(loss.device):
            self.look()
        self.optimiser.step()

    def look(self) -> None:
        """Raise a `NotFinite` if an update since the last look was none."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        figures = read(torch.cat(unread))
        for number, pair in enumerate(zip(figures[::2], figures[1::2], strict=True), start=1):
            for value, name in zip(pair, ("training loss", "norm of the gradient"), strict=True):
                if not math.isfinite(value):
                    raise NotFinite(f"the {name} is {value}", len(unread) - number)

    def unrolled(self, parameters_P: Tensor, gradient_P: Tensor) -> Tensor:
        """Compute what one update would make of parameters that lie end to end.

        The gradient is not clipped, as in the code of DARTS; the momentum stays as it is.
        """
        settings = self.optimiser.param_groups[0]
        states = (self.optimiser.state[one].get("momentum_buffer") for one in self.parameters)
        momenta = [
            torch.zeros_like(one) if state is None else state
            for one, state in zip(self.parameters, states, strict=True)
        ]
        step_P = settings["momentum"] * end_to_end(momenta) + gradient_P
        step_P = step_P + settings["weight_decay"] * parameters_P
        return parameters_P - settings["lr"] * step_P

    def end_epoch(self) -> None:
        """Look at the last updates, and lower the rate.

        Raises:
            NotFinite: see `step`.
        """
        self.look()
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def end_to_end(tensors: Iterable[Tensor]) -> Tensor:
    """Copy the numbers of tensors into one vector; `split_like` is the inverse."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def split_like(tensors: Sequence[Tensor], vector_P: Tensor) -> list[Tensor]:
    """Return views of the parts of a vector, in the shapes of tensors."""
    parts = torch.split(vector_P, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def require_finite(value: Tensor, name: str, to_lower: str = "") -> None:
    """Raise a `RunError` unless a scalar is finite; `to_lower` are the settings that may help."""
    if not torch.isfinite(value):
        advice = f": lower {to_lower}" if to_lower else ""
        raise RunError(f"the {name} is {value.item()}{advice}")

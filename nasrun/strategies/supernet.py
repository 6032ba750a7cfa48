"""Share what the searches have that train a supernet: its scorer, and one epoch a step."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from nasrun.protocols.context import SearchContext
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.settings import BatchSize, NumEpochs, WeightTraining, plugin
from nasrun.protocols.space import DifferentiableSpace
from nasrun.protocols.strategy import Strategy


@plugin
class SupernetSearch(Strategy, ABC):
    """A strategy whose step is an epoch: one pass over the training half, and what goes with it.

    A subclass adds its own state to `state_dict`, and raises `epoch` in each step.
    """

    unit: ClassVar[str] = "epoch"
    needs_alphas: ClassVar[bool] = True

    context: SearchContext = field(kw_only=False)
    num_epochs: NumEpochs
    batch_size: BatchSize | None  # images per update of the weights; `None` takes the dataset's
    training: WeightTraining

    def __post_init__(self) -> None:
        self.space: DifferentiableSpace = self.context.space
        self.scorer = self.new_scorer(**self.supernet_settings())
        self.epoch = 0  # epochs that are done

    def new_scorer(self, **changed: Any) -> Scorer:
        """Build a supernet, by the method's settings but for those that are `changed`."""
        settings: dict[str, Any] = {
            "num_epochs": self.num_epochs,
            "batch_size": self.batch_size,
            "training": self.training,
        }
        return self.context.scorer(**{**settings, **changed})

    def supernet_settings(self) -> dict[str, Any]:
        """Return the keywords of `space.supernet` in which the method differs from the space."""
        return {}

    @property
    def num_scorings(self) -> int:
        """How many candidates have been scored, and gradients computed, so far."""
        return self.scorer.num_scorings

    @property
    def total_steps(self) -> int:
        return self.num_epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.num_epochs

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "scorer": self.scorer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.scorer.load_state_dict(state["scorer"])

"""Share what the searches have that train a supernet: its scorer, and one epoch a step."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

import torch

from nasrun.protocols.context import SearchContext
from nasrun.protocols.scorer import Scorer, mean_scores
from nasrun.protocols.settings import BatchSize, NumEpochs, WeightTraining, plugin
from nasrun.protocols.space import DifferentiableSpace, MixingWeights, Mixture, Statistics
from nasrun.protocols.strategy import Strategy

FINAL_BATCHES, FINAL_IMAGES = 4, 512  # behind the accuracy of the result's mixture


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
        self.space: DifferentiableSpace = self.context.allowed_space
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
        """Count the candidates that have been scored, and the gradients computed, so far."""
        return self.scorer.num_scorings

    @property
    def total_steps(self) -> int:
        return self.num_epochs

    @property
    def finished(self) -> bool:
        return self.epoch >= self.num_epochs

    def final_mixture(self) -> tuple[Mixture, Statistics] | None:
        """Return the mixture that the result is derived from; `None` for a search without one.

        It comes with the statistics of batch norm under which it is scored.
        """
        return None

    def last_metrics(self) -> dict[str, float]:
        """Score the mixture that the result is derived from, on more images than a step does."""
        final = self.final_mixture()
        if final is None:
            return {}
        mixture, statistics = final
        batches = self.scorer.draw_batches([FINAL_IMAGES] * FINAL_BATCHES)
        scores = [self.scorer.score([mixture], batch, statistics) for batch in batches]
        figures = mean_scores(scores).figures("final_")
        return {**figures, "scorings": float(self.scorer.num_scorings)}

    def state_dict(self) -> dict[str, Any]:
        limits = self.context.limits  # what was bought for them decides what is derived
        bought = {} if limits is None else {"limits": limits.state_dict()}
        return {**bought, "epoch": self.epoch, "scorer": self.scorer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.context.limits is not None:
            self.context.limits.load_state_dict(state["limits"])
        self.epoch = state["epoch"]
        self.scorer.load_state_dict(state["scorer"])


def weights_step(before: MixingWeights, after: MixingWeights) -> float:
    """Measure how far mixing weights moved: total variation in [0, 1], mean over all edges."""
    moved_E = [(after[name] - before[name]).abs().sum(dim=1) / 2 for name in after]
    return float(torch.cat(moved_E).mean())

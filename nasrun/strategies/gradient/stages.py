"""Share what the searches have that build one supernet after the other, or rule operations out.

Shapes: E edges, O operations.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasrun.protocols.settings import plugin
from nasrun.strategies.gradient.base import BilevelSearch, copied


@plugin
class StagedSearch(BilevelSearch):
    """A search in stages. Each has a supernet; `kept` are the operations not yet ruled out."""

    def __post_init__(self) -> None:
        self.stage = 0
        self.scored_before = 0  # on the supernets of earlier stages
        shapes: Mapping[str, tuple[int, int]] = self.context.space.alpha_shapes
        self.kept = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
        super().__post_init__()

    @abstractmethod
    def stage_settings(self, stage: int) -> dict[str, Any]:
        """Return the settings of a stage's scorer in which it differs from the first one's."""

    def enter(self, stage: int) -> None:
        """Build the supernet of a stage."""
        self.stage = stage
        self.scored_before += self.scorer.num_scorings
        self.scorer = self.new_scorer(**self.stage_settings(stage))

    def keep_strongest(self, number: int) -> None:
        """Rule out all but the `number` strongest operations of each edge, of equals the first."""
        for name, weights_EO in self.mixing_weights().items():
            order_EO = weights_EO.sort(dim=1, descending=True, stable=True).indices
            kept_EO = torch.zeros_like(self.kept[name]).scatter(1, order_EO[:, :number], True)
            self.kept[name] = kept_EO & self.kept[name]

    def relaxed(self) -> dict[str, Tensor]:
        """Apply the softmax to the kept operations of each edge; the others have the weight 0."""
        return {
            name: alpha_EO.masked_fill(~self.kept[name], -math.inf).softmax(dim=1)
            for name, alpha_EO in self.alpha.items()
        }

    @property
    def num_scorings(self) -> int:
        return self.scored_before + self.scorer.num_scorings

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "stage": self.stage,
            "scored_before": self.scored_before,
            "kept": copied(self.kept),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = copied(state["kept"])
        if state["stage"] != self.stage:
            self.enter(state["stage"])
        self.scored_before = state["scored_before"]
        super().load_state_dict(state)

"""SETN: One-Shot Neural Architecture Search via Self-Evaluated Template Network.

X. Dong, Y. Yang. ICCV 2019, arXiv 1910.05733.

The weights are trained on architectures that are drawn evenly, so that none is favoured. A template
network, the mixture by softmax(alpha), learns which of them are likely to be good; so few are
drawn at the end, and the best of these under the shared weights is the result.

    for each epoch:
        for each batch of the training half:
            alpha by the gradient of L_val of the template
            w by the gradient of L_train of one architecture, drawn evenly
    draw num_candidates architectures from softmax(alpha)
    derive the one with the best accuracy on num_images of the validation half

Deviations:
- The public code takes the most likely architectures in place of drawn ones, each on another batch.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import BatchImages, Count, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.finalists import ranked
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class SETN(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    maximises_metric: ClassVar[bool] = True

    num_candidates: Count  # drawn from softmax(alpha) after the last epoch
    num_images: BatchImages  # of the validation half, by which they are ranked

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chosen: Genotype | None = None

    @property
    def total_steps(self) -> int:
        return self.num_epochs + 1

    @property
    def finished(self) -> bool:
        return self.chosen is not None

    def step(self) -> StepReport:
        """Make one epoch, or after the last one choose among the candidates."""
        if self.epoch < self.num_epochs:
            return super().step()
        candidates = [self.draw() for _ in range(self.num_candidates)]
        batch = self.scorer.draw_batch(self.num_images)
        best_first, scores = ranked(self.scorer, candidates, [batch], self.context.progress)
        self.chosen = best_first[0]
        figures = {
            "val_loss": float(scores.loss_N[0]),
            **scores.at(np.arange(1)).figures(),
            "scorings": float(self.scorer.num_scorings),
        }
        return StepReport(figures, incumbent=self.chosen, weights=self.mixing_weights())

    def trained_mixture(self) -> Mixture:
        """Draw an architecture evenly; nothing else is computed."""
        rng = self.context.streams.numpy("paths")
        return Mixture.single(self.space, self.space.sample(rng))

    def draw(self) -> Genotype:
        """Draw an architecture from softmax(alpha), edge by edge.

        Where a space keeps only some edges, these are the ones whose drawn operation is likeliest.
        """
        generator = self.context.streams.torch("candidates")
        drawn = {}
        for name, p_EO in self.mixing_weights().items():
            chosen_E1 = torch.multinomial(p_EO, 1, generator=generator)
            drawn[name] = torch.zeros_like(p_EO).scatter(1, chosen_E1, p_EO.gather(1, chosen_E1))
        return self.space.discretise(drawn)

    def best(self) -> tuple[Genotype, ...]:
        """Return the chosen architecture; before there is one, what alpha stands for now."""
        return super().best() if self.chosen is None else (self.chosen,)

    def state_dict(self) -> dict[str, Any]:
        chosen = None if self.chosen is None else self.chosen.to_json()
        return super().state_dict() | {"chosen": chosen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        chosen = state["chosen"]
        self.chosen = None if chosen is None else Genotype.from_json(chosen)

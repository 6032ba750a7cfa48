"""Share what the searches have that move alpha once per epoch, by scores and without gradients.

Lines and equations are those of EG-NAS (egnas.py): its Algorithm 1 but for how alpha is moved.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import BatchImages, Count, Fraction, plugin
from nasrun.protocols.space import Mixture, Statistics
from nasrun.strategies.egnas.fitness import Exploration
from nasrun.strategies.egnas.mixing import softmax_per_edge
from nasrun.strategies.supernet import SupernetSearch


@plugin
class AlphaExploration(SupernetSearch):
    """A search that trains the weights w by alpha, then moves alpha by what candidates score.

    A subclass says how in `explore`.
    """

    warmup: Fraction  # share of the epochs T in which only the weights are trained
    weights: Literal["mixture", "sampled"]  # w is trained on alpha's mixture, or on single paths
    statistics: Literal["batch", "running"]  # of batch norm while candidates are scored
    fitness_batches: Count  # behind a fitness; all candidates of an epoch share them
    fitness_images: BatchImages  # of the validation half, for the fitness

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_warmup = round(self.warmup * self.num_epochs)
        self.rng = self.context.streams.numpy("search")
        dimension = sum(edges * ops for edges, ops in self.space.alpha_shapes.values())
        self.alpha_D = 1e-3 * self.rng.standard_normal(dimension)

    @property
    def images_apart(self) -> Sequence[tuple[str, int]]:
        return [("fitness_images", self.fitness_images)] * self.fitness_batches

    @abstractmethod
    def explore(self) -> Mapping[str, float]:
        """Score candidates and move alpha, lines 4 to 16; return metrics."""

    def step(self) -> StepReport:
        """Make one epoch, lines 3 to 16: train w, and after the warm-up move alpha."""
        metrics = {f"train_{name}": value for name, value in self.train().items()}
        self.epoch += 1
        if self.epoch > self.num_warmup:
            metrics |= self.explore()
        return StepReport(
            metrics=metrics | {"scorings": float(self.scorer.num_scorings)},
            incumbent=self.best()[0],
            weights=self.mixing_weights(self.alpha_D),
        )

    def final_mixture(self) -> tuple[Mixture, Statistics]:
        return Mixture(self.mixing_weights(self.alpha_D)), self.statistics

    def train(self) -> dict[str, float]:
        """Line 3: train w in one pass over the training half."""
        if self.weights == "sampled":
            return self.scorer.train_paths(lambda: self.space.sample(self.rng))
        mixture = Mixture(self.mixing_weights(self.alpha_D))
        return self.scorer.train_epoch(lambda: mixture)

    def look_around(self) -> Exploration:
        """Draw the images of this epoch, and score alpha on them."""
        drawn = self.scorer.draw_batches([size for _, size in self.images_apart])
        fitness, selection = drawn[: self.fitness_batches], drawn[self.fitness_batches :]
        epoch = Exploration(self.scorer, fitness, selection or fitness, self.statistics)
        epoch.score_alpha(Mixture(self.mixing_weights(self.alpha_D)), self.epoch)
        return epoch

    def mixing_weights(self, alpha_D: np.ndarray) -> dict[str, Tensor]:
        """Apply Eq. 1, the softmax of each edge's operations; cell type -> weights_EO, float32."""
        return softmax_per_edge(alpha_D, self.space.alpha_shapes)

    def best(self) -> tuple[Genotype, ...]:
        """Line 18: derive the cell that alpha stands for now."""
        return (self.space.discretise(self.mixing_weights(self.alpha_D)),)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"alpha": torch.from_numpy(self.alpha_D.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.alpha_D = state["alpha"].numpy().copy()

"""Share what the searches have whose members move in a space of numbers: positions, generations.

Shapes: N members, D genes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.settings import AtMost, Count, PopulationSize, plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class PositionSearch(DiscreteSearch):
    """A search in generations, each of which evaluates where its members are.

    Members may return to what is known, which costs no label: without a number of generations of
    its own, a population that has converged would go on for ever.

    Args:
        num_labels: how many architectures are evaluated, at most.
        population_size: N.
        num_generations: at most; `None` takes as many as the labels pay for where no member ever
            returns.
    """

    unit: ClassVar[str] = "generation"
    step_cost: ClassVar[str] = "P labels"

    population_size: Annotated[PopulationSize, AtMost("num_labels")]
    num_generations: Count | None

    def __post_init__(self) -> None:
        super().__post_init__()
        paid = math.ceil(self.num_labels / self.population_size)
        self.most_generations = self.num_generations or paid
        # beyond those that are paid for, the labels may end the search before
        self.total_steps = self.most_generations if self.most_generations <= paid else None
        self.generation = 0
        self.position_ND = np.zeros((0, 0))
        self.error_N = np.zeros(0)  # of the positions; infinite where there is no label

    @property
    def finished(self) -> bool:
        return super().finished or self.generation >= self.most_generations

    @abstractmethod
    def advance(self) -> None:
        """Move the members and evaluate them."""

    def step(self) -> StepReport:
        """Make one generation; the first one is random."""
        if self.generation == 0:
            genotypes = self.labels.draw_new(self.population_size, *self.first)
            self.position_ND = np.stack([self.position(one) for one in genotypes])
            self.error_N = self.errors(genotypes)
        else:
            self.advance()
        self.generation += 1
        return self.labels.report()

    def position(self, genotype: Genotype) -> np.ndarray:
        """Return where a genotype is, position_D; by default in the unit cube."""
        return self.space.to_vector(genotype)

    def errors(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Return error_N of genotypes; infinite for failures, and where the budget is spent."""
        labels = self.labels.evaluate(genotypes)
        found = {label.genotype: validation_error(label) for label in labels}
        return np.array([found.get(genotype, math.inf) for genotype in genotypes])

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return what the members are, by the names of the attributes."""
        return {"position_ND": self.position_ND, "error_N": self.error_N}

    def state_dict(self) -> dict[str, Any]:
        arrays = {name: torch.from_numpy(array.copy()) for name, array in self.arrays().items()}
        return super().state_dict() | {"generation": self.generation, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.generation = state["generation"]
        for name in self.arrays():
            setattr(self, name, state["arrays"][name].numpy().copy())

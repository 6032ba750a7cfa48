"""A plain genetic algorithm: the textbook's, over the integer genes of a space.

J. H. Holland. Adaptation in Natural and Artificial Systems. 1975. For architectures: L. Xie,
A. Yuille. Genetic CNN. ICCV 2017, arXiv 1703.01513:

    population = P random architectures, evaluated
    while there is budget, and the best has become better of late:
        keep the best of the population                                    elitism
        until there are P again:
            two parents, each the better one of two random members         tournament
            child = each gene from either parent, with probability 0.9     uniform crossover
            change one gene of the child                                   mutation
        evaluate the children

Deviations: a child that computes what an evaluated architecture computes is drawn again, so that no
generation is spent on what is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.settings import AtMost, Below, Count, PopulationSize, Probability, plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class Genetic(DiscreteSearch):
    """The strategy; see the module's docstring. Its population begins with the best member.

    Args:
        num_labels: how many architectures are evaluated.
        population_size: P.
        tournament: of how many random members the best becomes a parent.
        crossover: probability that a child has two parents.
        elitism: how many of the best survive.
        num_generations: after how many it ends, the first population among them; `None`: when the
            budget does.
        patience: after how many generations without a better best it ends; `None` is off.
    """

    unit: ClassVar[str] = "generation"
    step_cost: ClassVar[str] = "P labels"

    population_size: Annotated[PopulationSize, AtMost("num_labels")]
    tournament: Count
    crossover: Probability
    elitism: Annotated[int, Ge(0), Below("population_size")]
    num_generations: Count | None = None  # runs of earlier versions have no such key
    patience: Count | None = None  # nor this one
    generation: int = field(init=False, default=0)  # how many there were
    stalled: int = field(init=False, default=0)  # how many brought no better best, the last ones

    def __post_init__(self) -> None:
        super().__post_init__()
        num_bred = max(0, self.num_labels - self.population_size)
        by_budget = 1 + math.ceil(num_bred / (self.population_size - self.elitism))
        most = by_budget if self.num_generations is None else self.num_generations
        self.total_steps = min(by_budget, most) if self.patience is None else None

    @property
    def finished(self) -> bool:
        """Return whether the budget is spent, the last generation bred, or progress has ended."""
        last = self.num_generations is not None and self.generation >= self.num_generations
        return self.labels.finished or last or self.stalled >= (self.patience or math.inf)

    def step(self) -> StepReport:
        """Breed one generation; the last one ends with the budget."""
        before = min(map(validation_error, self.population), default=math.inf)
        survivors = self.population[: self.elitism]
        sources = (self.child, self.sample) if self.population else self.first
        children = self.labels.evaluate_new(self.population_size - len(survivors), *sources)
        self.population = sorted(survivors + children, key=validation_error)
        self.generation += 1
        better = min(map(validation_error, children), default=math.inf) < before
        self.stalled = 0 if better else self.stalled + 1
        return self.labels.report()

    def child(self) -> Genotype:
        genotype = self.parent()
        if self.rng.random() < self.crossover:
            genotype = self.space.crossover(genotype, self.parent(), self.rng)
        return self.space.mutate(genotype, self.rng)

    def parent(self) -> Genotype:
        """Return the best of the tournament, which in a sorted population is the first."""
        drawn = self.rng.integers(len(self.population), size=self.tournament)
        return self.population[int(drawn.min())].genotype

    @property
    def counts(self) -> Mapping[str, int]:
        """Return what the end depends on besides the budget; runs of earlier versions have none."""
        if self.num_generations is None and self.patience is None:
            return {}
        return {"generation": self.generation, "stalled": self.stalled}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **self.counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if self.counts:
            self.generation, self.stalled = int(state["generation"]), int(state["stalled"])

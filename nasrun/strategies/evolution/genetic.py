"""A plain genetic algorithm: the textbook's, over the integer genes of a space.

J. H. Holland. Adaptation in Natural and Artificial Systems. 1975. For architectures: L. Xie,
A. Yuille. Genetic CNN. ICCV 2017, arXiv 1703.01513:

    population = P random architectures, evaluated
    while there is budget:
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

from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.labels import validation_error
from nasrun.strategies.evolution.base import DiscreteSearch, require_population


class Genetic(DiscreteSearch):
    """The strategy; see the module's docstring. Its population begins with the best member.

    Args:
        num_labels: how many architectures are evaluated.
        population_size: P.
        tournament: of how many random members the best becomes a parent.
        crossover: probability that a child has two parents.
        elitism: how many of the best survive.
    """

    unit = "generation"

    def __init__(
        self,
        context: SearchContext,
        *,
        num_labels: int,
        population_size: int,
        tournament: int,
        crossover: float,
        elitism: int,
    ) -> None:
        require_population(population_size, num_labels)
        require(tournament >= 1, "strategy.tournament", tournament, "at least 1")
        require(0 <= crossover <= 1, "strategy.crossover", crossover, "in [0, 1]")
        allowed = f"at least 0 and below population.size={population_size}"
        require(0 <= elitism < population_size, "strategy.elitism", elitism, allowed)
        super().__init__(context, num_labels)
        self.population_size = population_size
        self.tournament = tournament
        self.crossover = crossover
        self.elitism = elitism
        num_bred = max(0, num_labels - population_size)
        self.total_steps = 1 + math.ceil(num_bred / (population_size - elitism))

    def step(self) -> StepReport:
        """One generation; the last one ends with the budget."""
        survivors = self.population[: self.elitism]
        sources = (self.child, self.sample) if self.population else (self.sample,)
        children = self.labels.evaluate_new(self.population_size - len(survivors), *sources)
        self.population = sorted(survivors + children, key=validation_error)
        return self.labels.report()

    def child(self) -> Genotype:
        genotype = self.parent()
        if self.rng.random() < self.crossover:
            genotype = self.space.crossover(genotype, self.parent(), self.rng)
        return self.space.mutate(genotype, self.rng)

    def parent(self) -> Genotype:
        """The best of the tournament, which in a sorted population is the first."""
        drawn = self.rng.integers(len(self.population), size=self.tournament)
        return self.population[int(drawn.min())].genotype

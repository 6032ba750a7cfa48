"""NSGA-Net: evolve towards the front of two objectives, the error and what the network costs.

Z. Lu, I. Whalen, V. Boddeti, Y. Dhebar, K. Deb, E. Goodman, W. Banzhaf. NSGA-Net: Neural
Architecture Search using Multi-Objective Genetic Algorithm. GECCO 2019, arXiv 1810.03522. It is
NSGA-II (K. Deb et al., 2002) on architectures:

    population = P random architectures, evaluated
    while there is budget:
        rank the population: fronts of those that dominate each other in no way; in a front, those
            in sparse places come first (crowding distance)
        until there are P children:
            two parents, each the first of two random members                  tournament
            child = genes of one up to a point and from another one on, of the other in between
            change each gene with probability 1 / D, most of them to near values
        evaluate the children; the population is the first P of parents and children
    return the front of all that was evaluated

Deviations:
- The genes are those of the space, not the paper's macro or micro encoding; a child that is not
  valid is repaired as the space maps vectors to architectures.
- The paper's last phase, which samples from a Bayesian network of the best, is left out, as in the
  public code of the micro space.
- A child that computes what an evaluated architecture computes is drawn again.
- Of the front the architecture with the lowest error is the chosen one.

Shapes: N candidates, M = 2 objectives, D genes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Cost, Evaluation, Objective, StepReport, costs
from nasrun.protocols.labels import Labels
from nasrun.protocols.pareto import crowding_distances, non_dominated_ranks
from nasrun.protocols.settings import AtMost, NotNegative, PopulationSize, Probability, plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class NSGANet(DiscreteSearch):
    """The strategy; see the module's docstring. Its population is in the order of selection.

    Args:
        num_labels: how many architectures are evaluated.
        second_objective: beside the validation error, of the network behind a label; the run's
            `objective` takes its place.
        population_size: P.
        crossover: probability that a child has two parents.
        eta: of the mutation; the larger, the nearer are the values to which a gene changes.
    """

    unit: ClassVar[str] = "generation"
    step_cost: ClassVar[str] = "P labels"

    second_objective: Cost
    population_size: Annotated[PopulationSize, AtMost("num_labels")]
    crossover: Probability
    eta: NotNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        self.total_steps = math.ceil(self.num_labels / self.population_size)

    def offered_labels(self) -> Labels:
        return self.context.with_cost(self.second_objective)

    def step(self) -> StepReport:
        """Make one generation; the last one ends with the budget."""
        sources = (self.child, self.sample) if self.population else self.first
        children = self.labels.evaluate_new(self.population_size, *sources)
        everyone = self.population + children
        self.population = in_order(everyone, self.labels.objectives)[: self.population_size]
        return self.labels.report({"front_size": float(len(self.front()))})

    def child(self) -> Genotype:
        """Cross two parents and mutate, on the vector view of the space."""
        vector_D = self.space.to_vector(self.parent())
        if self.rng.random() < self.crossover:
            vector_D = two_point_crossover(vector_D, self.space.to_vector(self.parent()), self.rng)
        return self.space.from_vector(polynomial_mutation(vector_D, self.eta, self.rng))

    def parent(self) -> Genotype:
        """Return the winner of a tournament, which in a sorted population is the first."""
        drawn = self.rng.integers(len(self.population), size=2)
        return self.population[int(drawn.min())].genotype

    def front(self) -> list[Evaluation]:
        """List what no other label dominates, the lowest error first; equal values once."""
        return self.labels.front()

    def best(self) -> tuple[Genotype, ...]:
        """Return the front; raises `RunError` where every evaluation failed."""
        self.labels.best()
        return tuple(label.genotype for label in self.front())


def in_order(labels: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    """Sort by rank, and in a front by crowding distance, the most apart first."""
    costs_NM = costs(labels, objectives)
    rank_N = non_dominated_ranks(costs_NM)
    order_N = np.lexsort((-crowding_distances(costs_NM, rank_N), rank_N))
    return [labels[place] for place in order_N]


def two_point_crossover(
    first_D: np.ndarray, second_D: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the first with the second's values from one random place up to another one."""
    start, end = sorted(rng.integers(len(first_D) + 1, size=2).tolist())
    return np.concatenate([first_D[:start], second_D[start:end], first_D[end:]])


def polynomial_mutation(vector_D: np.ndarray, eta: float, rng: np.random.Generator) -> np.ndarray:
    """Move each coordinate within [0, 1] with probability 1 / D (Deb and Agrawal, 1999)."""
    chosen_D = rng.random(len(vector_D)) < 1 / len(vector_D)
    return np.where(chosen_D, moved(vector_D, rng.random(len(vector_D)), eta), vector_D)


def moved(vector_D: np.ndarray, u_D: np.ndarray, eta: float) -> np.ndarray:
    """Apply the polynomial distribution, whose quantiles are u, between the bounds 0 and 1."""
    down_D = (2 * u_D + (1 - 2 * u_D) * (1 - vector_D) ** (eta + 1)) ** (1 / (eta + 1)) - 1
    up_D = 1 - (2 * (1 - u_D) + (2 * u_D - 1) * vector_D ** (eta + 1)) ** (1 / (eta + 1))
    return vector_D + np.where(u_D < 0.5, down_D, up_D)

"""Regularized evolution: the oldest dies, not the worst.

E. Real, A. Aggarwal, Y. Huang, Q. V. Le. Regularized Evolution for Image Classifier Architecture
Search. AAAI 2019, arXiv 1802.01548. Algorithm 1:

    population = P random architectures, evaluated
    while there is budget:
        sample = S random members of the population
        child = mutate(the best of the sample), evaluated
        append the child to the population and remove its oldest member
    return the best architecture of the whole history

Deviations: P and S are small, since evaluations are few (paper: 100 and 25 of 20,000); S is a share
of P. A child that computes what an evaluated architecture computes is drawn again.
"""

from __future__ import annotations

from typing import Annotated

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.settings import AtMost, PopulationSize, PositiveShare, plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class RegularizedEvolution(DiscreteSearch):
    """The strategy; see the module's docstring. Its population begins with the oldest member.

    Args:
        num_labels: how many architectures are evaluated.
        population_size: P.
        sample_share: S / P; S is rounded, and at least 2.
    """

    population_size: Annotated[PopulationSize, AtMost("num_labels")]
    sample_share: PositiveShare

    @property
    def sample_size(self) -> int:
        """Return S, at least 2."""
        return max(2, round(self.sample_share * self.population_size))

    def step(self) -> StepReport:
        """Evaluate one child, or one member of the first population."""
        num_missing = self.population_size - len(self.population)
        if num_missing > 0:
            self.population += self.labels.evaluate_next(*self.first, most=num_missing)
        else:
            self.population += self.labels.evaluate_new(1, self.child, self.sample)
        self.population = self.population[-self.population_size :]
        return self.labels.report()

    def child(self) -> Genotype:
        drawn = self.rng.integers(len(self.population), size=self.sample_size)
        parent = min((self.population[i] for i in drawn), key=validation_error)
        return self.space.mutate(parent.genotype, self.rng)

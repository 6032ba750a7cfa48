"""Differential evolution: members move by differences of others.

N. Awad, N. Mallik, F. Hutter. Differential Evolution for Neural Architecture Search. 2020, arXiv
2012.06400; R. Storn, K. Price. Journal of Global Optimization 11, 1997. It is DE/rand/1/bin:

    members x = P random architectures in the unit cube, evaluated
    in each generation, for each x:
        a, b, c = three others
        v = a + F (b - c); a coordinate outside of the cube is drawn anew         mutation
        u = v for each coordinate with probability CR, and for a random one,
            else x                                                                crossover
        evaluate u; it takes the place of x where it is as good                   selection
    return the best

Deviations:
- All u of a generation are made before any takes its place, so that they are evaluated together.
- Where there are fewer than three others, some of a, b, c are the same.

Shapes: N members, D genes.
"""

from __future__ import annotations

import numpy as np

from nasrun.protocols.settings import Positive, Probability, plugin
from nasrun.strategies.evolution.positions import PositionSearch


@plugin
class DifferentialEvolution(PositionSearch):
    """The strategy; see the module's docstring, and `PositionSearch` for its other settings.

    Args:
        difference: F, how much of a difference is added.
        crossover: CR, probability that a coordinate is the mutant's.
    """

    difference: Positive
    crossover: Probability

    def advance(self) -> None:
        """Try a place for each member, and keep the better ones."""
        trial_ND = np.stack([self.trial(place) for place in range(len(self.position_ND))])
        error_N = self.errors([self.space.from_vector(vector_D) for vector_D in trial_ND])
        better_N = error_N <= self.error_N
        self.position_ND = np.where(better_N[:, None], trial_ND, self.position_ND)
        self.error_N = np.where(better_N, error_N, self.error_N)

    def trial(self, place: int) -> np.ndarray:
        """Mutate, and cross with the member itself."""
        others_N = np.delete(np.arange(len(self.position_ND)), place)
        if len(others_N) == 0:  # a population of one
            others_N = np.array([place])
        chosen_3 = self.rng.choice(others_N, size=3, replace=len(others_N) < 3)
        base_D, plus_D, minus_D = self.position_ND[chosen_3]
        mutant_D = mutant(base_D, plus_D, minus_D, self.difference)
        num_genes = len(mutant_D)
        outside_D = (mutant_D < 0) | (mutant_D > 1)
        mutant_D = np.where(outside_D, self.rng.random(num_genes), mutant_D)
        takes_D = self.rng.random(num_genes) < self.crossover
        takes_D[self.rng.integers(num_genes)] = True
        return np.where(takes_D, mutant_D, self.position_ND[place])


def mutant(
    base_D: np.ndarray, plus_D: np.ndarray, minus_D: np.ndarray, difference: float
) -> np.ndarray:
    """Compute a + F (b - c)."""
    return base_D + difference * (plus_D - minus_D)

"""Share what the particle swarms have: velocities, and the best that each particle has seen.

J. Kennedy, R. Eberhart. Particle Swarm Optimization. ICNN 1995; with inertia: Y. Shi, R. Eberhart.
A Modified Particle Swarm Optimizer. ICEC 1998. Shapes: N particles, D genes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import Fraction, NotNegative, plugin
from nasrun.strategies.evolution.positions import PositionSearch


@plugin
class Swarm(PositionSearch):
    """A particle swarm; a subclass says what a position is, and how a velocity changes it.

    Args:
        inertia: w, share of a velocity that is kept.
        cognitive: c1, the pull to the best place that a particle has seen itself.
        social: c2, the pull to the best place that any of them has seen.
    """

    inertia: Fraction
    cognitive: NotNegative
    social: NotNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        self.velocity_ND = self.own_ND = np.zeros((0, 0))
        self.own_error_N = np.zeros(0)  # of the best place that each has seen, own_ND

    @abstractmethod
    def moved(self) -> tuple[np.ndarray, list[Genotype]]:
        """Return the next position_ND, and which architecture is there."""

    def advance(self) -> None:
        """Make one flight: velocities, positions, errors."""
        if self.generation == 1:
            self.velocity_ND = np.zeros_like(self.position_ND)
            self.own_ND, self.own_error_N = self.position_ND, self.error_N
        self.velocity_ND = self.velocity(*self.rng.random((2, *self.position_ND.shape)))
        self.position_ND, genotypes = self.moved()
        self.error_N = self.errors(genotypes)
        better_N = self.error_N < self.own_error_N
        self.own_ND = np.where(better_N[:, None], self.position_ND, self.own_ND)
        self.own_error_N = np.where(better_N, self.error_N, self.own_error_N)

    def velocity(self, first_ND: np.ndarray, second_ND: np.ndarray) -> np.ndarray:
        """Compute w v + c1 r1 (own best - x) + c2 r2 (best of all - x), with random r1 and r2."""
        best_D = self.own_ND[int(self.own_error_N.argmin())]
        return (
            self.inertia * self.velocity_ND
            + self.cognitive * first_ND * (self.own_ND - self.position_ND)
            + self.social * second_ND * (best_D - self.position_ND)
        )

    def arrays(self) -> Mapping[str, np.ndarray]:
        own = {"own_ND": self.own_ND, "own_error_N": self.own_error_N}
        return {**super().arrays(), "velocity_ND": self.velocity_ND, **own}

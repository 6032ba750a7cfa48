"""EAEPSO: a particle swarm in a space of fixed length, from which architectures are decoded.

G. Yuan, B. Wang, B. Xue, M. Zhang. Particle Swarm Optimization for Efficiently Evolving Deep
Convolutional Neural Networks Using an Autoencoder-based Encoding Strategy. IEEE Transactions on
Evolutionary Computation, 2023:

    particles = N random architectures, encoded and evaluated; velocities are 0
    in each generation:
        v = w v + c1 r1 (own best - x) + c2 r2 (best of all - x)
        x = x + v
        decode each x, repair it where it is not valid, and evaluate it
    return the best

Deviations:
- The paper learns its code with an auto-encoder, since its networks have any number of layers. The
  architectures of a space have equally many genes: the code is the unit cube, a coordinate for each
  gene. (Details of the paper's auto-encoder were not to be had.)
- A particle that leaves the cube stops at its surface, as does its velocity there.
- w, c1, c2 are the usual ones of M. Clerc and J. Kennedy (2002).

Shapes: N particles, D genes.
"""

from __future__ import annotations

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import plugin
from nasrun.strategies.evolution.swarm import Swarm


@plugin
class EAEPSO(Swarm):
    """The strategy; see the module's docstring, and `Swarm` for its settings."""

    def moved(self) -> tuple[np.ndarray, list[Genotype]]:
        wanted_ND = self.position_ND + self.velocity_ND
        position_ND = np.clip(wanted_ND, 0.0, 1.0)
        self.velocity_ND = np.where(wanted_ND == position_ND, self.velocity_ND, 0.0)
        return position_ND, [self.space.from_vector(vector_D) for vector_D in position_ND]

"""EPCNAS: a particle swarm over integer genes, with bits for what is there or not.

J. Huang, B. Xue, Y. Sun, M. Zhang, G. G. Yen. Particle Swarm Optimization for Compact Neural
Architecture Search for Image Classification. IEEE Transactions on Evolutionary Computation, 2022:

    particles = N random architectures, evaluated; velocities are 0
    in each generation, r1 and r2 and r3 drawn for each gene:
        v = w v + c1 r1 (own best - x) + c2 r2 (best of all - x)
        a whole number x becomes x + v, rounded down
        a bit x becomes 1 where r3 is at most 1 / (1 + exp(-v)), else 0
        evaluate the particles
    return the best

Deviations:
- The genes are those of the space, and bits are the genes with two values, such as the edges of
  NAS-Bench-101. A number beyond its values stops at the last one. In the paper, where numbers are
  widths of layers and bits are shortcuts, it adds or removes a layer, and particles of other
  lengths are aligned.
- What an evaluation is, `evaluator` says; the paper stops trainings early.
- A particle that is not valid takes the place of the architecture to which the space repairs it.

Shapes: N particles, D genes.
"""

from __future__ import annotations

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.settings import plugin
from nasrun.strategies.evolution.swarm import Swarm


@plugin
class EPCNAS(Swarm):
    """The strategy; see the module's docstring, and `Swarm` for its settings."""

    def position(self, genotype: Genotype) -> np.ndarray:
        """Return the genes, float64."""
        return np.array(self.space.encode(genotype), dtype=float)

    def moved(self) -> tuple[np.ndarray, list[Genotype]]:
        values_D = np.array(self.space.cardinalities)
        genes_ND = next_genes(
            self.position_ND, self.velocity_ND, values_D, self.rng.random(self.position_ND.shape)
        )
        genotypes = [self.space.from_vector((genes_D + 0.5) / values_D) for genes_D in genes_ND]
        return np.stack([self.position(one) for one in genotypes]), genotypes


def next_genes(
    genes_ND: np.ndarray, velocity_ND: np.ndarray, values_D: np.ndarray, random_ND: np.ndarray
) -> np.ndarray:
    """Return the genes after a flight: numbers move, bits are drawn."""
    numbers_ND = np.clip(np.floor(genes_ND + velocity_ND), 0, values_D - 1)
    bits_ND = random_ND <= 1 / (1 + np.exp(-velocity_ND))
    return np.where(values_D == 2, bits_ND, numbers_ND)

"""Offer of a space only what is within limits, so that every strategy keeps to them.

Shapes: D genes, E edges, O operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.limits import LimitsOfRun
from nasrun.objectives.roster import Roster
from nasrun.protocols.space import DifferentiableSpace, MixingWeights
from nasrun.protocols.wrappers import WrappedSpace

if TYPE_CHECKING:
    from torch import Tensor

NUM_TRIES = 20  # draws of an operator before another way is taken
SMALLEST = 1e-12  # a mixing weight whose logarithm is taken


class LimitedSpace(WrappedSpace):
    """A space that proposes nothing beyond the limits of a run.

    - `sample`, `mutate` and `crossover` are drawn again until what they give is allowed. Where that
      is rare, samples are drawn from the list of all that is allowed (a small space), or moved to
      something allowed.
    - `neighbours` and `edge_moves` leave out what is not allowed.
    - `decode`, `from_vector` and `crossover` move what they give to something allowed: in a small
      space to that with the most genes in common, else by the neighbours of the least excess.
    - `discretise` gives the likeliest architecture that is allowed.

    Supernets, networks, graphs, sizes and codes are those of the whole space.
    """

    def __init__(self, inner: DifferentiableSpace, limits: LimitsOfRun) -> None:
        super().__init__(inner)
        self._limits = limits

    def sample(self, rng: np.random.Generator) -> Genotype:
        roster = self._limits.roster if self._limits.is_rare else None
        if roster is not None and len(places := np.flatnonzero(self._limits.allowed())) > 0:
            return roster.genotypes[int(rng.choice(places))]
        for _ in range(NUM_TRIES):
            genotype = self.inner.sample(rng)
            if self._limits.allows(genotype):
                return genotype
        return self._moved(genotype)

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        for _ in range(NUM_TRIES):
            genotype = self.inner.mutate(parent, rng)
            if self._limits.allows(genotype):
                return genotype
        nearby = self.neighbours(parent)
        return nearby[int(rng.integers(len(nearby)))] if nearby else self.sample(rng)

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        for _ in range(NUM_TRIES):
            genotype = self.inner.crossover(first, second, rng)
            if self._limits.allows(genotype):
                return genotype
        return self._moved(genotype)

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        return [one for one in self.inner.neighbours(genotype) if self._limits.allows(one)]

    def edge_moves(self, genotype: Genotype) -> list[Genotype]:
        return [one for one in self.inner.edge_moves(genotype) if self._limits.allows(one)]

    def largest(self) -> Genotype | None:
        """Return the largest of the whole space where it is allowed; the next takes counting."""
        genotype = self.inner.largest()
        return genotype if genotype is not None and self._limits.allows(genotype) else None

    def decode(self, genes: Sequence[int]) -> Genotype:
        return self._moved(self.inner.decode(genes))

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        return self._moved(self.inner.from_vector(vector_D))

    def enumerate(self) -> Iterator[Genotype]:
        return filter(self._limits.allows, self.inner.enumerate())

    def _moved(self, genotype: Genotype) -> Genotype:
        moved = self._limits.moved(genotype)
        return moved if self._limits.allows(moved) else self._limits.example

    # ------------------------------------------------------------------ relaxation

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        """Derive the likeliest architecture that is allowed.

        The likelihood is the product of the weights (times the gates) of what it has. In a small
        space it is searched for in the order of likelihood; else the likeliest is moved to the
        neighbour that loses the least of it for each bit of excess, and then back up.
        """
        first = self.inner.discretise(weights, gates)
        if self._limits.allows(first):
            return first
        likelihood = Likelihood(self.inner, weights, gates)
        roster = self._limits.roster
        if roster is None:
            return self._climbed(self._descended(first, likelihood), likelihood)
        for place in np.argsort(-likelihood.of_all(roster), kind="stable"):
            genotype = roster.genotypes[place]
            if self._limits.allows(genotype):
                return genotype
        return self._limits.example

    def _descended(self, genotype: Genotype, likelihood: Likelihood) -> Genotype:
        """Lower the excess to 0, by the changes that cost the least likelihood for it."""
        excess = self._limits.excess(genotype)
        while excess > 0:
            here = likelihood.of(genotype)
            less = [
                ((here - likelihood.of(one)) / (excess - beyond), beyond, one)
                for one in self.inner.neighbours(genotype)
                if (beyond := self._limits.excess(one)) < excess
            ]
            if not less:
                break
            _, excess, genotype = min(less, key=lambda found: found[0])
        return genotype

    def _climbed(self, genotype: Genotype, likelihood: Likelihood) -> Genotype:
        """Move to the likeliest allowed neighbour for as long as that is likelier."""
        while True:
            best = max(self.neighbours(genotype), key=likelihood.of, default=genotype)
            if likelihood.of(best) <= likelihood.of(genotype):
                return genotype
            genotype = best


class Likelihood:
    """How likely architectures are under mixing weights: the sum of the logarithms."""

    def __init__(
        self,
        space: DifferentiableSpace,
        weights: MixingWeights,
        gates: Mapping[str, Tensor] | None,
    ) -> None:
        self._space = space
        self._log = {}
        for name, weights_EO in weights.items():
            scaled_EO = weights_EO.detach().double()
            if gates is not None:
                scaled_EO = scaled_EO * gates[name].detach().double()[:, None]
            self._log[name] = scaled_EO.clamp_min(SMALLEST).log()

    def of_all(self, roster: Roster) -> np.ndarray:
        """Return likelihood_N, float64, of all that is listed."""
        log_W = np.concatenate([log_EO.numpy().ravel() for log_EO in self._log.values()])
        return roster.one_hot(self._space) @ log_W

    def of(self, genotype: Genotype) -> float:
        chosen = self._space.one_hot(genotype)
        return math.fsum(
            float(log_EO[chosen[name] > 0].sum()) for name, log_EO in self._log.items()
        )

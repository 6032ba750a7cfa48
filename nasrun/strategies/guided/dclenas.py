"""DCL-ENAS: Evolutionary Neural Architecture Search with Dual Contrastive Learning.

Zhang, Gong, Chen, Zhang. 2025, arXiv 2512.20112.

A predictor that ranks architectures guides an evolution, so that few of them need a true label. It
is trained by two contrasts: without labels it learns which architectures are alike, with labels
which of two is the better (Algorithm 1):

    pre-train the soft encoder on unlabelled architectures                      CLP
    label N random architectures
    until f_esmax labels are spent:                                             CLF-ENAS
        fine-tune the predictor on all labels, from the pre-trained encoder
        evolve a population for t_gap generations; the fitness is the predicted score
        label the N_infill most promising architectures
    return the best labelled architecture

Deviations:
- No code is public, and of the paper only digests were to be had; f_esmax, N, t_gap,
  N_infill and the population are measured guesses, as is the predictor (`predictor=dcl`).
- At most one infill of a round per hard code (`one_per_code`): without it the round is spent on
  cells that the predictor cannot tell apart. On NAS-Bench-201 these compute different functions in
  1,010 of 4,120 codes, .50 points of accuracy apart in the median (graphs/codes.py).
- `proposals=evolution_and_neighbours` takes a pool in place of the population: all neighbours of
  the best labelled architectures, mutants of good ones (up to three edits) and random ones, ranked
  by an upper confidence bound. On NAS-Bench-101 it decides more than the predictor does, which
  there reads labels of the graph in place of the hard code (`strategy=dclenas_neighbours`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from nasrun.genotypes.genotype import Genotype
from nasrun.graphs.paths import effective_paths
from nasrun.protocols.settings import CountOrNone, NotNegative, PopulationSize, Probability, plugin
from nasrun.strategies.guided.base import PredictorGuidedSearch

Proposals = Literal["evolution", "evolution_and_neighbours"]

# The pool has the neighbours of the best centres, mutants of the best parents, and random ones.
NUM_CENTRES, NUM_PARENTS, NUM_MUTANTS, NUM_RANDOM = 5, 20, 200, 300
MAX_EDITS = 3  # between a mutant in the pool and its parent


@plugin
class DCLENAS(PredictorGuidedSearch):
    """The strategy; see the module's docstring. Steps and rounds are those of `guided.py`.

    Args:
        predictor: makes the predictor of `conf/predictor`, given its generator.
        num_labels: f_esmax, architectures that are evaluated.
        num_initial: N, random ones first.
        num_infill: N_infill, labels per round.
        num_generations: t_gap, generations between two fine-tunings.
        population_size: of the evolution; half of it starts from the best labelled ones.
        crossover: probability that a child has two parents.
        proposals: `evolution` as in Algorithm 1, or `evolution_and_neighbours`.
        kappa: how many deviations of the predictor a score is raised by.
        one_per_code: whether a round takes at most one architecture of each hard code.
    """

    num_generations: CountOrNone
    population_size: PopulationSize
    crossover: Probability
    proposals: Proposals
    kappa: NotNegative
    one_per_code: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self._around: dict[Genotype, list[Genotype]] = {}

    def propose(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        """Score the architectures that `proposals` asks for."""
        return self.evolve(ranked) if self.proposals == "evolution" else self.pool(ranked)

    def evolve(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        """Evolve t_gap generations from the best labelled and from random architectures.

        Returns the predicted fitness of all that lived.
        """
        population = list(ranked[: self.population_size // 2])
        population += [self.sample() for _ in range(self.population_size - len(population))]
        scores = self.score(population)
        for _ in range(self.num_generations):
            population = sorted(dict.fromkeys(population), key=lambda g: -scores[g])
            del population[self.population_size :]
            children = [self.child(population) for _ in range(self.population_size)]
            scores |= self.score(child for child in children if child not in scores)
            population += children
        return scores

    def child(self, population: Sequence[Genotype]) -> Genotype:
        """Mutate a random member, or the child of two."""
        first, second = self.rng.integers(len(population), size=2)
        genotype = population[first]
        if self.rng.random() < self.crossover:
            genotype = self.space.crossover(genotype, population[second], self.rng)
        return self.space.mutate(genotype, self.rng)

    def pool(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        """Score the neighbours of the best, mutants of good ones, and random ones."""
        pool = [near for centre in ranked[:NUM_CENTRES] for near in self.around(centre)]
        parents = self.rng.integers(min(NUM_PARENTS, len(ranked)), size=NUM_MUTANTS)
        pool += [self.mutant(ranked[parent]) for parent in parents]
        pool += [self.sample() for _ in range(NUM_RANDOM)]
        return self.score(pool)

    def around(self, centre: Genotype) -> list[Genotype]:
        if centre not in self._around:  # the best stay the best for many rounds
            self._around[centre] = self.one_edit_away(centre)
        return self._around[centre]

    def mutant(self, parent: Genotype) -> Genotype:
        """Mutate one to three times: the neighbours are in the pool anyway."""
        for _ in range(self.rng.integers(1, MAX_EDITS + 1)):
            parent = self.space.mutate(parent, self.rng)
        return parent

    def marks(self, genotype: Genotype) -> set[object]:
        """Add the hard code to the marks, so that a round takes one architecture of each.

        It is done with `one_per_code`. The code is barred for the round only: architectures that
        share one differ truly.
        """
        code = {effective_paths(self.graph(genotype))} if self.one_per_code else set()
        return super().marks(genotype) | code

    def score(self, genotypes: Iterable[Genotype]) -> dict[Genotype, float]:
        """Predict the fitness, to be maximised, of each genotype once."""
        distinct = list(dict.fromkeys(genotypes))
        prediction = self.predict(distinct)
        fitness_N = prediction.score_N + self.kappa * prediction.deviation_N
        return dict(zip(distinct, fitness_N.tolist(), strict=True))

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

Deviations: no code is public, and of the paper only digests were to be had; N, t_gap, N_infill and
the population are measured guesses, as is the predictor (predictors/dcl.py). Besides:
- At most one infill of a round per hard code (`one_per_code`): without it the round is spent on
  cells that the predictor cannot tell apart.
- `proposals=evolution_and_neighbours` takes a pool in place of the population: all neighbours of
  the best labelled architectures, mutants of good ones and random ones, ranked by an upper
  confidence bound. On NAS-Bench-101 it decides more than the predictor does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from nasrun.encodings import effective_paths
from nasrun.errors import require
from nasrun.genotype import Genotype
from nasrun.labels import validation_error
from nasrun.prediction import Prediction, Predictor
from nasrun.protocols import (
    ArchGraph,
    Evaluation,
    SearchContext,
    SearchSpace,
    StepReport,
)
from nasrun.unlabelled import OneEditPairs

Proposals = Literal["evolution", "evolution_and_neighbours"]

NUM_CENTRES, NUM_PARENTS, NUM_MUTANTS, NUM_RANDOM = 5, 20, 200, 300  # of the pool


class DCLENAS:
    """The strategy; see the module's docstring.

    Args:
        predictor: makes the predictor of `conf/predictor`, given its generator.
        num_labels: f_esmax, architectures that are evaluated.
        num_initial: N, random ones first.
        num_infill: N_infill, labels per round.
        num_generations: t_gap, generations between two fine-tunings.
        population_size: of the evolution; half of it starts from the best labelled ones.
        crossover: probability that a child has two parents.
        proposals: `evolution` as in the paper, or `evolution_and_neighbours`.
        kappa: how many deviations of the predictor a score is raised by.
        one_per_code: whether a round takes at most one architecture of each hard code.
    """

    unit: ClassVar[str] = "round"
    space_needs: ClassVar[type] = SearchSpace

    def __init__(
        self,
        context: SearchContext,
        *,
        predictor: Callable[..., Predictor],
        num_labels: int,
        num_initial: int,
        num_infill: int,
        num_generations: int,
        population_size: int,
        crossover: float,
        proposals: Proposals,
        kappa: float,
        one_per_code: bool,
    ) -> None:
        allowed = f"at least 2 and at most budget.evaluations={num_labels}"
        require(2 <= num_initial <= num_labels, "strategy.num_initial", num_initial, allowed)
        require(num_infill >= 1, "strategy.num_infill", num_infill, "at least 1")
        require(num_generations >= 0, "strategy.num_generations", num_generations, "at least 0")
        require(population_size >= 2, "population.size", population_size, "at least 2")
        require(0 <= crossover <= 1, "strategy.crossover", crossover, "in [0, 1]")
        require(kappa >= 0, "strategy.kappa", kappa, "at least 0")
        self.space: SearchSpace = context.space
        self.rng = context.streams.numpy("search")
        self.progress = context.progress
        self.labels = context.evaluator.limited(num_labels)
        self.predictor = predictor(context.streams.torch("predictor"))
        self.num_initial = num_initial
        self.num_infill = num_infill
        self.num_generations = num_generations
        self.population_size = population_size
        self.crossover = crossover
        self.proposals = proposals
        self.kappa = kappa
        self.one_per_code = one_per_code
        self.total_steps = 2 + math.ceil((num_labels - num_initial) / num_infill)
        self.num_steps = 0
        self.fitted = False  # in this process: a fit is not part of the state
        self._graphs: dict[Genotype, ArchGraph] = {}

    @property
    def finished(self) -> bool:
        return self.labels.finished

    def step(self) -> StepReport:
        """CLP, then the first N labels, then one round of CLF-ENAS after the other."""
        metrics: dict[str, float] = {}
        if self.num_steps == 0:
            metrics = self.predictor.pretrain(OneEditPairs(self.space), self.progress)
        elif self.num_steps == 1:
            self.labels.evaluate_new(self.num_initial, self.sample)
        else:
            metrics = self.infill()
        self.num_steps += 1
        return self.labels.report(metrics)

    def infill(self) -> dict[str, float]:
        """Fine-tune, evolve, label the most promising ones. Returns how well they were ranked."""
        labels = self.labels.labels
        accuracy_N = 1.0 - np.array([validation_error(label) for label in labels])
        self.predictor.fit([self.graph(label.genotype) for label in labels], accuracy_N)
        self.fitted = True

        ranked = [label.genotype for label in sorted(labels, key=validation_error)]
        scores = self.evolve(ranked) if self.proposals == "evolution" else self.pool(ranked)

        wanted = min(self.num_infill, self.labels.remaining)
        chosen = self.most_promising(scores, wanted)
        evaluations = self.labels.evaluate(chosen, [scores[genotype] for genotype in chosen])
        if len(chosen) < wanted:  # a small space: whatever is left
            self.labels.evaluate_new(wanted - len(chosen), self.sample)
        return rank_correlation([scores[genotype] for genotype in chosen], evaluations)

    def evolve(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        """t_gap generations from the best labelled and random architectures; the scores of all
        that lived."""
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
        """Of one or two random members, mutated."""
        first, second = self.rng.integers(len(population), size=2)
        genotype = population[first]
        if self.rng.random() < self.crossover:
            genotype = self.space.crossover(genotype, population[second], self.rng)
        return self.space.mutate(genotype, self.rng)

    def pool(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        """The scores of the neighbours of the best, of mutants of good ones, and of random ones."""
        pool = [near for centre in ranked[:NUM_CENTRES] for near in self.around(centre)]
        parents = self.rng.integers(min(NUM_PARENTS, len(ranked)), size=NUM_MUTANTS)
        pool += [self.space.mutate(ranked[parent], self.rng) for parent in parents]
        pool += [self.sample() for _ in range(NUM_RANDOM)]
        return self.score(pool)

    def around(self, centre: Genotype) -> list[Genotype]:
        moves = getattr(self.space, "edge_moves", None)  # where edges are part of the genotype
        return self.space.neighbours(centre) + (moves(centre) if moves is not None else [])

    def most_promising(self, scores: Mapping[Genotype, float], wanted: int) -> list[Genotype]:
        """The best by score that have no label, compute different things and, if asked, differ in
        their hard code. A code is barred for the round only: cells that share one differ truly."""
        chosen, taken = list[Genotype](), set[object]()
        for genotype in sorted(scores, key=lambda genotype: -scores[genotype]):
            if len(chosen) == wanted:
                break
            marks: set[object] = {self.space.canonical(genotype)}
            if self.one_per_code:
                marks.add(effective_paths(self.graph(genotype)))
            if not marks & taken and genotype not in self.labels:
                chosen.append(genotype)
                taken |= marks
        return chosen

    def score(self, genotypes: Iterable[Genotype]) -> dict[Genotype, float]:
        """The predicted fitness, to be maximised; each genotype once."""
        distinct = list(dict.fromkeys(genotypes))
        if not distinct:
            return {}
        prediction = self.predictor.score([self.graph(genotype) for genotype in distinct])
        fitness_N = prediction.score_N + self.kappa * prediction.deviation_N
        return dict(zip(distinct, fitness_N.tolist(), strict=True))

    def predict(self, graphs: Sequence[ArchGraph]) -> Prediction | None:
        """With the last fit; `None` before the first. For those who look on: changes nothing."""
        return self.predictor.score(graphs) if self.fitted else None

    def graph(self, genotype: Genotype) -> ArchGraph:
        if genotype not in self._graphs:
            self._graphs[genotype] = self.space.graph(genotype)
        return self._graphs[genotype]

    def sample(self) -> Genotype:
        return self.space.sample(self.rng)

    def best(self) -> tuple[Genotype, ...]:
        return (self.labels.best().genotype,)

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_steps": self.num_steps,
            "labels": self.labels.state_dict(),
            "predictor": self.predictor.state_dict() if self.num_steps > 0 else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.num_steps = state["num_steps"]
        self.labels.load_state_dict(state["labels"])
        if state["predictor"] is not None:
            self.predictor.load_state_dict(state["predictor"])


def rank_correlation(
    scores: Sequence[float], evaluations: Sequence[Evaluation]
) -> dict[str, float]:
    """`predictor_tau`: Kendall's tau of predicted and true, where both have an order."""
    from scipy.stats import kendalltau

    errors = [validation_error(evaluation) for evaluation in evaluations]
    if len(set(scores)) < 2 or len(set(errors)) < 2:
        return {}
    return {"predictor_tau": -float(kendalltau(scores, errors).statistic)}

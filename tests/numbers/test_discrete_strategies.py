"""The discrete searches on the toy space, whose landscape is known: each move is checked."""

from __future__ import annotations

import itertools
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.errors import RunError
from nasrun.networks.toy import GAINS_EO
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator
from nasrun.protocols.labels import Labels
from nasrun.randomness import RandomStreams
from nasrun.spaces.toy import Toy
from nasrun.strategies.evolution.genetic import Genetic
from nasrun.strategies.evolution.local_search import LocalSearch
from nasrun.strategies.evolution.random import RandomSearch
from nasrun.strategies.evolution.regularized_evolution import RegularizedEvolution
from tests.compose import composed

SPACE = Toy()
OPTIMUM = SPACE.decode((3, 1, 0))
METHODS = {
    RandomSearch: {},
    LocalSearch: {"num_initial": 3},
    RegularizedEvolution: {"population_size": 6, "sample_share": 0.5},
    Genetic: {"population_size": 6, "tournament": 2, "crossover": 0.9, "elitism": 1},
}


class Gains(Evaluator):
    """error = 1 - (sum of the gains) / 16: one optimum, and no other peak."""

    objectives = (VALIDATION_ERROR,)
    needs_images = False

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def evaluate(self, genotypes):
        if self.fails:
            raise RunError("the training loss is nan")
        return [Evaluation(genotype, (error(genotype),), 0.0) for genotype in genotypes]


def error(genotype) -> float:
    genes = SPACE.encode(genotype)
    return 1 - sum(GAINS_EO[edge][gene] for edge, gene in enumerate(genes)) / 16


def make(method, num_labels: int, seed: int = 0, fails: bool = False, **changes):
    streams = RandomStreams(seed)
    labels = Labels(Gains(fails), SPACE, budget=1000)
    context = SimpleNamespace(space=SPACE, allowed_space=SPACE, streams=streams, evaluator=labels)
    return method(context, num_labels=num_labels, **{**METHODS[method], **changes})


def run(strategy) -> list:
    """The genes of each step's labels."""
    steps = []
    while not strategy.finished:
        report = strategy.step()
        steps.append([SPACE.encode(e.genotype) for e in report.evaluations])
    return steps


def differences(first, second) -> int:
    return sum(a != b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_no_architecture_is_labelled_twice_and_the_budget_is_spent(method) -> None:
    strategy = make(method, num_labels=21)
    steps = run(strategy)
    labelled = [genes for step in steps for genes in step]
    assert len(set(labelled)) == len(labelled) == 21
    assert len(steps) == strategy.total_steps


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_tiny_space_is_exhausted_and_the_optimum_found(method) -> None:
    strategy = make(method, num_labels=100)
    run(strategy)
    assert len(strategy.labels) == 64
    assert strategy.best() == (OPTIMUM,)
    report = strategy.labels.report()
    assert report.metrics["best_val_accuracy"] == pytest.approx(12 / 16)
    assert report.incumbent == OPTIMUM


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_failures_do_not_stop_the_search(method) -> None:
    strategy = make(method, num_labels=12, fails=True)
    assert sum(map(len, run(strategy))) == 12
    with pytest.raises(RunError, match="none of 12 evaluations succeeded"):
        strategy.best()


def test_random_search_takes_the_draws_in_order() -> None:
    rng = RandomStreams(0).numpy("search")
    drawn = [tuple(rng.integers(0, 4, size=3).tolist()) for _ in range(100)]
    expected = list(dict.fromkeys(drawn))[:20]
    assert run(make(RandomSearch, num_labels=20)) == [[genes] for genes in expected]


@pytest.mark.parametrize("seed", range(5))
def test_local_search_moves_to_the_first_better_neighbour(seed: int) -> None:
    strategy = make(LocalSearch, num_labels=40, seed=seed)
    labelled = [SPACE.decode(genes) for step in run(strategy) for genes in step]
    current = min(labelled[:3], key=error)
    position = 3
    while current != OPTIMUM:  # the only peak
        neighbour = labelled[position]
        assert differences(SPACE.encode(current), SPACE.encode(neighbour)) == 1
        if error(neighbour) < error(current):
            current = neighbour
        position += 1
    # At the peak all neighbours are labelled before the search starts again elsewhere.
    around = {SPACE.encode(genotype) for genotype in SPACE.neighbours(OPTIMUM)}
    known = {SPACE.encode(genotype) for genotype in labelled[:position]}
    rest = around - known
    assert {SPACE.encode(g) for g in labelled[position : position + len(rest)]} == rest


def test_local_search_restarts_at_a_new_cell() -> None:
    strategy = make(LocalSearch, num_labels=1000, num_initial=1)
    strategy.move_to(*strategy.labels.evaluate([OPTIMUM]))
    for _ in range(9):  # three edges, three other operations each
        strategy.step()
    assert strategy.population[0].genotype == OPTIMUM
    assert strategy.untried == []
    report = strategy.step()
    (restart,) = report.evaluations
    assert restart.genotype not in [OPTIMUM, *SPACE.neighbours(OPTIMUM)]
    assert strategy.population[0].genotype == restart.genotype
    assert len(strategy.untried) == 9


def test_regularized_evolution_is_algorithm_1() -> None:
    """A plain version with a queue, on the same draws."""
    rng = RandomStreams(7).numpy("search")
    labelled: dict = {}

    def new(source):
        genotype = source()
        while genotype in labelled:
            genotype = source()
        labelled[genotype] = error(genotype)
        return genotype

    def child():
        sample = [population[i] for i in rng.integers(6, size=3)]
        return SPACE.mutate(min(sample, key=error), rng)

    population = deque(new(lambda: SPACE.sample(rng)) for _ in range(6))
    while len(labelled) < 25:
        population.append(new(child))
        population.popleft()
    strategy = make(RegularizedEvolution, num_labels=25, seed=7)
    steps = run(strategy)
    assert steps == [[SPACE.encode(genotype)] for genotype in labelled]
    assert [member.genotype for member in strategy.population] == list(population)


@pytest.mark.parametrize(("size", "sample"), [(30, 10), (10, 3), (2, 2)])
def test_sizes_of_the_sample(size: int, sample: int) -> None:
    changes = {"population_size": size, "sample_share": 0.3333}
    assert make(RegularizedEvolution, num_labels=60, **changes).sample_size == sample


def test_generations_of_the_genetic_algorithm() -> None:
    steps = run(make(Genetic, num_labels=20))
    assert [len(step) for step in steps] == [6, 5, 5, 4]  # 1 of 6 survives; 20 in all


def test_a_genetic_search_ends_by_generations_or_where_nothing_becomes_better() -> None:
    assert len(run(make(Genetic, num_labels=40, num_generations=3))) == 3
    strategy = make(Genetic, num_labels=64, patience=2)
    best = [1.0]
    while not strategy.finished:
        strategy.step()
        best.append(strategy.labels.best().values[0])
    better = [after < before for before, after in itertools.pairwise(best)]
    assert better[-3:] == [True, False, False]  # found before the end: two in a row end it
    assert (False, False) not in itertools.pairwise(better[:-1])
    restored = make(Genetic, num_labels=64, patience=2)
    restored.load_state_dict(strategy.state_dict())
    assert restored.finished


def test_children_come_from_two_parents_and_one_mutation() -> None:
    strategy = make(Genetic, num_labels=40)
    strategy.step()
    while not strategy.finished:
        parents = [SPACE.encode(member.genotype) for member in strategy.population]
        best = strategy.population[0]
        report = strategy.step()
        assert strategy.population[0].values <= best.values
        assert best in strategy.population
        for evaluation in report.evaluations:
            genes = SPACE.encode(evaluation.genotype)
            strange = min(
                sum(gene not in pair for gene, *pair in zip(genes, first, second, strict=True))
                for first in parents
                for second in parents
            )
            assert strange <= 1


def test_tournaments_prefer_the_better() -> None:
    strategy = make(Genetic, num_labels=40, tournament=2)
    strategy.step()
    ranks = [member.genotype for member in strategy.population]
    counts = np.bincount([ranks.index(strategy.parent()) for _ in range(6000)], minlength=6)
    # The better of two draws from six has rank r with probability ((6 - r)^2 - (5 - r)^2) / 36.
    assert counts / 6000 == pytest.approx(
        [11 / 36, 9 / 36, 7 / 36, 5 / 36, 3 / 36, 1 / 36], abs=0.02
    )


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["budget.evaluations=150"], 30),
        (["budget.evaluations=20"], 10),
        (["budget=smoke"], 2),
        (["budget.evaluations=1"], 2),
        (["budget.evaluations=20", "population.size=20"], 20),
    ],
)
def test_the_own_population_leaves_half_of_the_labels(overrides: list[str], size: int) -> None:
    config = composed(["strategy=regularized_evolution", *overrides])
    assert to_typed(config, SearchConfig).strategy["population_size"] == size

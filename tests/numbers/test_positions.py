"""Particle swarms and differential evolution: their formulas by hand, their ends, their optimum."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nasrun.errors import RunError
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.labels import Labels
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.strategies.evolution.differential_evolution import DifferentialEvolution, mutant
from nasrun.strategies.evolution.eaepso import EAEPSO
from nasrun.strategies.evolution.epcnas import EPCNAS, next_genes
from nasrun.strategies.evolution.positions import PositionSearch
from tests.numbers.test_discrete_strategies import OPTIMUM, SPACE, Gains, error

PULLS = {"inertia": 0.7298, "cognitive": 1.49618, "social": 1.49618}
METHODS: dict[type[PositionSearch], dict[str, float]] = {
    EPCNAS: PULLS,
    EAEPSO: PULLS,
    DifferentialEvolution: {"difference": 0.5, "crossover": 0.5},
}
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)


def made(method, num_labels: int = 40, seed: int = 0, **changes: Any) -> Any:
    fails = changes.pop("fails", False)
    space = changes.pop("space", SPACE)
    labels = Labels(Gains(fails), space, budget=1000)
    context = SimpleNamespace(
        space=space, allowed_space=space, streams=RandomStreams(seed), evaluator=labels
    )
    settings = {"population_size": 6, "num_generations": 30, **METHODS[method], **changes}
    return method(context, num_labels=num_labels, **settings)


def spent(strategy) -> Any:
    while not strategy.finished:
        strategy.step()
    return strategy


@every_method
def test_it_finds_the_optimum_of_the_toy_space(method) -> None:
    found = [spent(made(method, seed=seed)).labels.best() for seed in range(12)]
    assert sum(one.genotype == OPTIMUM for one in found) >= 7
    assert np.mean([one.values[0] for one in found]) < 0.3  # the optimum has .25, the mean is .56


@every_method
def test_a_population_that_has_converged_ends(method) -> None:
    """All members at the optimum: nothing moves, no label is bought, generations pass."""
    strategy = made(method, num_labels=64, num_generations=9)
    strategy.step()
    strategy.position_ND[:] = strategy.position(OPTIMUM)
    strategy.labels.evaluate([OPTIMUM])
    strategy.error_N[:] = error(OPTIMUM)
    before = len(strategy.labels)
    spent(strategy)
    assert strategy.generation == 9
    assert len(strategy.labels) == before < 10


@every_method
def test_the_number_of_steps_is_known_where_the_labels_cannot_end_it(method) -> None:
    for num_generations, total in ((None, 4), (3, 3), (4, 4), (5, None)):
        strategy = made(method, num_labels=20, num_generations=num_generations)
        assert strategy.total_steps == total
        spent(strategy)
        assert total is None or strategy.generation == total
        assert len(strategy.labels) <= 20


@every_method
def test_failures_do_not_stop_it(method) -> None:
    strategy = spent(made(method, num_labels=12, fails=True))
    with pytest.raises(RunError, match="evaluations succeeded"):
        strategy.best()


@every_method
def test_what_the_budget_denies_is_no_place_to_go(method) -> None:
    strategy = made(method, num_labels=7)
    strategy.step()
    errors_N = strategy.errors([SPACE.decode((a, b, 1)) for a in range(4) for b in range(4)])
    assert len(strategy.labels) == 7
    assert np.isinf(errors_N).sum() >= 16 - 7


@every_method
def test_positions_of_a_space_with_invalid_genes_lead_to_valid_genotypes(method) -> None:
    space = NasBench101(channels=8, cells=1)
    strategy = made(method, space=space, num_labels=20)
    strategy.labels._evaluator.evaluate = lambda genotypes: [  # type: ignore[method-assign]
        strategy_label(one, space) for one in genotypes
    ]
    spent(strategy)
    assert strategy.generation > 2
    for label in strategy.labels.ledger:
        space.validate(label.genotype)


def strategy_label(genotype, space) -> Any:
    return Evaluation(genotype, (1 / (1 + sum(space.encode(genotype))),), 0.0)


def test_velocity_by_hand() -> None:
    """Of two particles; the second has seen the best place."""
    swarm = made(EAEPSO, inertia=0.5, cognitive=2.0, social=3.0)
    swarm.position_ND = np.array([[0.2, 0.6], [0.5, 0.5]])
    swarm.velocity_ND = np.array([[0.1, -0.2], [0.0, 0.4]])
    swarm.own_ND = np.array([[0.3, 0.6], [0.9, 0.1]])
    swarm.own_error_N = np.array([0.4, 0.1])
    first_ND, second_ND = np.array([[0.5, 1.0], [0.25, 0.0]]), np.array([[0.1, 0.2], [1.0, 0.5]])
    expected = [
        [0.5 * 0.1 + 2 * 0.5 * 0.1 + 3 * 0.1 * 0.7, 0.5 * -0.2 + 0 + 3 * 0.2 * -0.5],
        [0 + 2 * 0.25 * 0.4 + 3 * 1.0 * 0.4, 0.5 * 0.4 + 0 + 3 * 0.5 * -0.4],
    ]
    assert swarm.velocity(first_ND, second_ND) == pytest.approx(np.array(expected))


def test_a_particle_stops_at_the_surface_of_the_cube() -> None:
    swarm = made(EAEPSO)
    swarm.position_ND = np.array([[0.9, 0.1, 0.5]])
    swarm.velocity_ND = np.array([[0.3, -0.3, 0.2]])
    position_ND, genotypes = swarm.moved()
    assert position_ND == pytest.approx(np.array([[1.0, 0.0, 0.7]]))
    assert swarm.velocity_ND == pytest.approx(np.array([[0.0, 0.0, 0.2]]))
    assert [SPACE.encode(one) for one in genotypes] == [(3, 0, 2)]


def test_numbers_move_and_bits_are_drawn() -> None:
    """Numbers are rounded down and stay in 0 to 3; of the bits the sigmoids are .5, .5, .881."""
    values_D = np.array([4, 4, 4, 2, 2, 2])
    genes_ND = np.array([[1.0, 3.0, 0.0, 1.0, 0.0, 0.0]])
    velocity_ND = np.array([[1.7, 0.4, -2.3, 0.0, 0.0, 2.0]])
    random_ND = np.array([[0.0, 0.0, 0.0, 0.6, 0.5, 0.88]])
    found = next_genes(genes_ND, velocity_ND, values_D, random_ND)
    assert found.tolist() == [[2, 3, 0, 0, 1, 1]]


def test_a_particle_keeps_the_best_place_that_it_has_seen() -> None:
    swarm = made(EPCNAS, num_labels=64)
    for _ in range(2):
        swarm.step()
    for _ in range(5):
        own, own_error_N = swarm.own_ND.copy(), swarm.own_error_N.copy()
        swarm.step()
        for n in range(6):
            here = error(SPACE.decode([int(gene) for gene in swarm.position_ND[n]]))
            better = here < own_error_N[n]
            assert swarm.own_error_N[n] == min(here, own_error_N[n])
            kept = swarm.position_ND[n] if better else own[n]
            assert swarm.own_ND[n].tolist() == kept.tolist()


def test_mutation_of_differential_evolution_by_hand() -> None:
    found = mutant(np.array([0.2, 0.9]), np.array([0.7, 0.5]), np.array([0.3, 0.1]), 0.5)
    assert found == pytest.approx([0.2 + 0.5 * 0.4, 0.9 + 0.5 * 0.4])


def test_a_trial_is_made_of_three_others_and_the_member() -> None:
    """Every coordinate is the member's or a + F (b - c) of three different others; where that is
    outside of the cube, it is drawn anew, and one coordinate at least is the mutant's."""
    search = made(DifferentialEvolution, crossover=0.0)
    search.position_ND = np.array([[0.1], [0.3], [0.4], [0.6]]).repeat(3, axis=1)
    others = [0.3, 0.4, 0.6]
    inside = {
        round(a + 0.5 * (b - c), 9)
        for a in others for b in others for c in others if len({a, b, c}) == 3
    }  # fmt: skip
    for _ in range(50):
        trial_D = search.trial(0)
        changed_D = trial_D[trial_D != 0.1]
        assert len(changed_D) == 1
        assert round(float(changed_D[0]), 9) in inside
    search.position_ND[1:] = [[0.9], [1.0], [0.0]]
    trials = np.stack([search.trial(0) for _ in range(200)])
    assert trials.min() >= 0
    assert trials.max() <= 1


def test_a_trial_takes_the_place_of_a_member_that_is_not_better() -> None:
    search = made(DifferentialEvolution, num_labels=64)
    search.step()
    for _ in range(6):
        before_ND, before_N = search.position_ND, search.error_N
        search.step()
        assert (search.error_N <= before_N).all()
        same_N = (search.position_ND == before_ND).all(1)
        assert (search.error_N[same_N] == before_N[same_N]).all()
        for vector_D, value in zip(search.position_ND, search.error_N, strict=True):
            assert error(SPACE.from_vector(vector_D)) == value

"""Pareto ranks, crowding, and the moves of NSGA-Net: by hand, and against slow and obvious ones."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.engine.insight import Insight
from nasrun.engine.search import front_of
from nasrun.engine.summary import summary
from nasrun.errors import RunError, UsageError
from nasrun.evaluators.network_cost import NetworkCost
from nasrun.genotypes.source import resolve
from nasrun.objectives.counts import BY_COST
from nasrun.protocols.data import TaskShape
from nasrun.protocols.evaluation import COSTS, VALIDATION_ERROR, Evaluation, Evaluator, Objective
from nasrun.protocols.labels import Labels
from nasrun.protocols.measure import MeasuredNetworks
from nasrun.protocols.pareto import crowding_distances, non_dominated_ranks
from nasrun.protocols.result import FrontMember, Result
from nasrun.protocols.space import NetworkSize
from nasrun.randomness import RandomStreams
from nasrun.report.analysis import analyse
from nasrun.report.collect import collect
from nasrun.report.figures import fronts
from nasrun.report.tables import all_tables
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.spaces.toy import Toy
from nasrun.strategies.evolution.nsganet import (
    NSGANet,
    in_order,
    moved,
    polynomial_mutation,
    two_point_crossover,
)
from tests.made_runs import make_run

SPACE = Toy()
INF = float("inf")

# By hand: a, b, c are the front; d is beaten by b alone, e by b and d, f by all.
COSTS_NM = np.array([[1.0, 6.0], [2.0, 3.0], [6.0, 1.0], [3.0, 4.0], [4.0, 5.0], [9.0, 9.0]])
RANKS = [0, 0, 0, 1, 2, 3]


def test_ranks_by_hand() -> None:
    assert non_dominated_ranks(COSTS_NM).tolist() == RANKS


def test_equal_candidates_are_in_the_same_front_and_failures_in_the_last() -> None:
    costs_NM = np.array([[INF, INF], [1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [INF, INF]])
    assert non_dominated_ranks(costs_NM).tolist() == [2, 0, 0, 1, 2]
    assert np.isinf(crowding_distances(costs_NM, non_dominated_ranks(costs_NM))[[0, 4]]).all()


def test_crowding_by_hand() -> None:
    """Of the four in the front, b lies between 0 and 4 of 10, and 10 and 4 of 10."""
    costs_NM = np.array([[0.0, 10.0], [1.0, 7.0], [4.0, 4.0], [10.0, 0.0], [20.0, 20.0]])
    rank_N = non_dominated_ranks(costs_NM)
    distance_N = crowding_distances(costs_NM, rank_N)
    assert distance_N == pytest.approx([INF, 0.4 + 0.6, 0.9 + 0.7, INF, INF])


def test_an_objective_that_does_not_differ_adds_nothing() -> None:
    costs_NM = np.array([[1.0, 5.0], [1.0, 5.0], [1.0, 5.0]])
    assert crowding_distances(costs_NM, np.zeros(3, dtype=int)) == pytest.approx([INF, 0, INF])


def slow_ranks(costs: list[tuple[float, ...]]) -> list[int]:
    """The definition: the rank is one more than the highest among those that dominate."""

    def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    def rank(place: int) -> int:
        above = [i for i, one in enumerate(costs) if dominates(one, costs[place])]
        return 1 + max(map(rank, above)) if above else 0

    return [rank(place) for place in range(len(costs))]


def slow_crowding(costs: list[tuple[float, ...]], ranks: list[int]) -> list[float]:
    """As the paper writes it, one front and one objective after the other."""
    distance = [0.0] * len(costs)
    for rank, objective in itertools.product(set(ranks), range(len(costs[0]))):
        front = [i for i in range(len(costs)) if ranks[i] == rank]
        front.sort(key=lambda i: costs[i][objective])
        spread = costs[front[-1]][objective] - costs[front[0]][objective]
        distance[front[0]] = distance[front[-1]] = INF
        for before, this, after in zip(front, front[1:], front[2:], strict=False):
            if spread > 0:
                distance[this] += (costs[after][objective] - costs[before][objective]) / spread
    return distance


@pytest.mark.parametrize("seed", range(20))
def test_ranks_and_crowding_are_those_of_the_slow_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 25)), int(rng.integers(1, 4)))
    costs_NM = rng.integers(0, 6, shape).astype(float)  # with many ties
    costs = [tuple(row) for row in costs_NM.tolist()]
    rank_N = non_dominated_ranks(costs_NM)
    assert rank_N.tolist() == slow_ranks(costs)
    found = crowding_distances(costs_NM, rank_N)
    assert found == pytest.approx(slow_crowding(costs, rank_N.tolist()))


def test_ranks_and_crowding_are_those_of_pymoo() -> None:
    sorting = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    crowding = pytest.importorskip("pymoo.operators.survival.rank_and_crowding.metrics")
    costs_NM = np.random.default_rng(0).random((40, 2))  # without ties, which pymoo leaves out
    rank_N = non_dominated_ranks(costs_NM)
    for rank, front in enumerate(sorting.NonDominatedSorting().do(costs_NM)):
        assert sorted(front) == np.flatnonzero(rank_N == rank).tolist()
        if len(front) == 1:
            continue  # pymoo gives it 0, and Deb et al. the infinity of the ends of a front
        expected = 2 * crowding.calc_crowding_distance(costs_NM[front])  # it takes the mean
        assert crowding_distances(costs_NM, rank_N)[front] == pytest.approx(expected)


def test_ranks_and_crowding_of_random_points_are_those_that_pymoo_gave() -> None:
    """pymoo 0.6.2, whose crowding is the mean over two objectives; alone in a front it has 0."""
    costs_NM = np.array([
        [0.40, 0.72], [0.28, 0.08], [0.97, 0.56], [0.64, 0.58], [0.48, 0.12], [0.31, 0.74],
        [0.91, 0.89], [0.95, 0.03], [0.74, 0.67], [0.63, 0.64], [0.13, 0.63], [0.79, 0.01],
    ])  # fmt: skip
    rank_N = non_dominated_ranks(costs_NM)
    assert rank_N.tolist() == [1, 0, 2, 2, 1, 1, 4, 1, 3, 2, 0, 0]
    half = [0.5694, 1.0, INF, 1.0, 0.9156, INF, INF, INF, INF, INF, INF, INF]
    assert crowding_distances(costs_NM, rank_N) / 2 == pytest.approx(half, abs=5e-5)


BOTH = (VALIDATION_ERROR, COSTS["flops"])
MOST = Objective("images_per_s", "1/s", "maximise")


def label(*values: float) -> Evaluation:
    return Evaluation(SPACE.decode((0, 0, 0)), values, 0.0)


def test_an_objective_that_is_maximised_counts_with_a_minus() -> None:
    """The fast and the precise one are the front, the third is beaten by both, and what failed by
    all; with both minimised the slowest of equal error would be the best."""
    failed = label(VALIDATION_ERROR.worst, MOST.worst)
    labels = [failed, label(0.3, 10), label(0.3, 50), label(0.1, 20)]
    order = in_order(labels, (VALIDATION_ERROR, MOST))
    assert {labels.index(one) for one in order[:2]} == {2, 3}
    assert [labels.index(one) for one in order[2:]] == [1, 0]


def test_selection_takes_fronts_in_turn_and_the_most_apart_first() -> None:
    labels = [label(3, 3), label(4, 4), label(0, 9), label(1, 8.5), label(9, 0)]
    # In the front 0, 2, 3, 4 the ends come first, then 0 with 8 / 9 + 8.5 / 9 before 3's 9 / 9.
    assert [labels.index(one) for one in in_order(labels, BOTH)] == [2, 4, 0, 3, 1]


def test_mutation_by_hand() -> None:
    """eta = 1. At x = 1/2 and u = 1/8: sqrt(1/4 + 3/4 * 1/4) - 1 = sqrt(7)/4 - 1. Quantiles 0 and 1
    lead to the bounds, and the median leaves all as it is."""
    vector_D, u_D = np.array([0.5, 0.25, 0.25, 0.7]), np.array([0.125, 0.0, 1.0, 0.5])
    expected = [0.5 + np.sqrt(7) / 4 - 1, 0.0, 1.0, 0.7]
    assert moved(vector_D, u_D, eta=1.0) == pytest.approx(expected)


def test_mutation_changes_one_gene_on_average_and_stays_inside() -> None:
    rng, vector_D = np.random.default_rng(0), np.full(10, 0.05)
    found_ND = np.stack([polynomial_mutation(vector_D, 3.0, rng) for _ in range(4000)])
    assert (found_ND != vector_D).sum(1).mean() == pytest.approx(1.0, abs=0.05)
    assert found_ND.min() >= 0
    assert found_ND.max() <= 1


def test_crossover_takes_one_stretch_of_the_second_parent() -> None:
    rng = np.random.default_rng(0)
    children = {
        tuple(two_point_crossover(np.zeros(3), np.ones(3), rng).astype(int)) for _ in range(200)
    }
    assert children == set(itertools.product((0, 1), repeat=3)) - {(1, 0, 1)}


class TwoGains(Evaluator):
    """Two objectives that contradict each other, but for a gene that is better at 3 for both."""

    objectives = (VALIDATION_ERROR, COSTS["flops"])
    needs_images = False
    fails = False

    def evaluate(self, genotypes):
        if self.fails:
            raise RunError("the training loss is nan")
        return [Evaluation(one, values(one), 0.0) for one in genotypes]


def values(genotype) -> tuple[float, float]:
    first, second, third = SPACE.encode(genotype)
    return 1 - (first + second) / 8, 1 + 3 * first + second + 9 * (3 - third)


def nsganet(num_labels: int, seed: int = 0, fails: bool = False) -> NSGANet:
    evaluator = TwoGains()
    evaluator.fails = fails
    context = SimpleNamespace(
        allowed_space=SPACE,
        streams=RandomStreams(seed),
        with_cost=lambda cost: Labels(evaluator, SPACE, budget=1000),
    )
    settings = {"second_objective": "flops", "population_size": 8, "crossover": 0.9, "eta": 3.0}
    return NSGANet(context, num_labels=num_labels, **settings)  # type: ignore[arg-type]


def spent(strategy: NSGANet) -> NSGANet:
    while not strategy.finished:
        strategy.step()
    return strategy


def test_the_front_is_that_of_all_labels_and_the_lowest_error_is_chosen() -> None:
    """Of a whole space; for each error the cheapest first gene, and the third at 3."""
    strategy = spent(nsganet(num_labels=64))
    genes = [SPACE.encode(genotype) for genotype in strategy.best()]
    assert genes == [(3, 3, 3), (2, 3, 3), (1, 3, 3), (0, 3, 3), (0, 2, 3), (0, 1, 3), (0, 0, 3)]


def test_it_finds_more_of_the_front_than_random_labels_do() -> None:
    """With 24 labels of 64: random ones alone have 7 * 24 / 64 = 2.6 of the front on average."""
    found = [len({*spent(nsganet(24, seed)).best()} & FRONT) for seed in range(20)]
    assert np.mean(found) > 3.5


FRONT = {SPACE.decode((first, 3, 3)) for first in range(4)} | {
    SPACE.decode((0, second, 3)) for second in range(3)
}


def test_the_population_is_the_best_of_parents_and_children() -> None:
    strategy = nsganet(num_labels=24)
    strategy.step()
    before = strategy.population
    report = strategy.step()
    ranked = in_order([*before, *report.evaluations], BOTH)
    assert strategy.population == ranked[:8]
    assert report.metrics["front_size"] == len(strategy.front())


def test_where_every_evaluation_fails_there_is_no_front() -> None:
    strategy = spent(nsganet(num_labels=12, fails=True))
    with pytest.raises(RunError, match="none of 12 evaluations succeeded"):
        strategy.best()


def test_a_child_is_valid_where_not_all_genes_are() -> None:
    space = NasBench101(channels=8, cells=1)
    rng = np.random.default_rng(0)
    parents = [space.to_vector(space.sample(rng)) for _ in range(20)]
    for first, second in itertools.pairwise(parents):
        child_D = polynomial_mutation(two_point_crossover(first, second, rng), 3.0, rng)
        space.validate(space.from_vector(child_D))


class Failing(Evaluator):
    """The first genotype fails; its networks have two channels."""

    needs_images = False
    at_once = 4
    size = NetworkSize(channels=2)

    def evaluate(self, genotypes):
        first, *others = genotypes
        return [
            Evaluation(first, (INF,), 0.0, error="killed"),
            *(Evaluation(one, (0.5,), 0.0, {"loss": 1.0}) for one in others),
        ]


@pytest.mark.parametrize(("cost", "value"), [("params", 10.0), ("flops", 40.0)])
def test_a_cost_is_that_of_the_network_behind_the_label(cost, value: float) -> None:
    asked = []

    def counted(genotype, shape, size):
        asked.append((shape, size))
        return 10, 40

    shape = TaskShape(3, (8, 8), 10)
    space = SimpleNamespace(params_and_flops=counted, counts_by_formula=True)
    networks = MeasuredNetworks(space, shape, Failing.size, None)  # type: ignore[arg-type]
    evaluator = NetworkCost(Failing(), BY_COST[cost](networks))
    failed, sound = evaluator.evaluate([SPACE.decode((0, 0, 0)), SPACE.decode((1, 0, 0))])
    assert failed.values == (INF, INF)
    assert failed.error == "killed"
    assert sound.values == (0.5, value)
    assert sound.details == {"loss": 1.0}
    assert asked == [(shape, NetworkSize(channels=2))]
    assert [one.name for one in evaluator.objectives] == ["val_error", cost]
    assert evaluator.at_once == 4


def test_the_front_has_the_values_of_its_labels() -> None:
    strategy = spent(nsganet(num_labels=64))
    front = front_of(strategy, SPACE)
    assert front[0] == FrontMember(
        genotype=SPACE.decode((3, 3, 3)), values={"val_error": 0.25, "flops": 13.0}
    )
    assert len(front) == 7


def test_summary_and_report_show_the_front(tmp_path: Path) -> None:
    members = (
        FrontMember(genotype=SPACE.decode((3, 3, 3)), values={"val_error": 0.25, "flops": 13e6}),
        FrontMember(genotype=SPACE.decode((0, 3, 3)), values={"val_error": 0.625, "flops": 4e6}),
    )
    result = Result(
        strategy="nsganet", space="toy", dataset="digits", seed=3, genotype=members[0].genotype,
        front=members,
    )  # fmt: skip
    text = summary(Path("folder"), result)
    assert "1: val_error 0.2500, flops 13,000,000 (chosen)" in text
    assert "nasrun retrain genotype=folder:2" in text
    damaged = {**result.to_json(), "front": [{"values": {"flops": "many"}}, {"values": 3}, 5]}
    units = [asdict(VALIDATION_ERROR), asdict(COSTS["flops"])]
    run = make_run(tmp_path / "a", seed=3, result={"front": result.to_json()["front"]},
                   record={"objectives": units})  # fmt: skip
    make_run(tmp_path / "b", seed=4, result={"front": damaged["front"]})
    report = analyse(*collect([tmp_path]))
    (table,) = (one for one in all_tables(report) if one.name == "fronts")
    assert table.columns == ("group", "seed", "member", "val_error", "flops")
    rows = [[cell.value for cell in row[1:]] for row in table.rows]
    assert rows[:2] == [["3", "1 (chosen)", 0.25, 13e6], ["3", "2", 0.625, 4e6]]
    (picture,) = fronts(report, "digits", several=False)
    caption, figure = picture.caption, picture.figure
    assert picture.name == "front_flops"
    assert caption.partition(";")[0] == "Fronts: val_error against flops"
    (axes,) = figure.axes
    assert axes.get_xlabel() == "flops, multiply-adds"  # as run.json has it
    assert axes.lines[0].get_xydata().tolist() == [[4e6, 0.625], [13e6, 0.25]]
    assert run.is_dir()


def test_each_member_of_a_front_can_be_named(tmp_path: Path) -> None:
    found = [SPACE.decode((3, 3, 3)), SPACE.decode((0, 3, 3))]
    file = tmp_path / "front.json"
    file.write_text(json.dumps({str(n): one.to_json() for n, one in enumerate(found, start=1)}))
    assert [resolve(f"{file}:{place}") for place in (1, 2)] == found
    assert [resolve(f"{tmp_path}:{place}") for place in (1, 2)] == found
    with pytest.raises(UsageError, match="no genotype '3' in it; choose from 1, 2"):
        resolve(f"{tmp_path}:3")
    file.unlink()
    with pytest.raises(UsageError, match="it is not a run that found several"):
        resolve(f"{tmp_path}:2")


def test_the_front_is_drawn_as_stairs_with_the_places_of_its_members() -> None:
    strategy = spent(nsganet(num_labels=64))
    figure = dict(Insight(strategy, TwoGains()).figures())["front"]
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("flops, multiply-adds", "val error, fraction")
    x, y = axes.lines[0].get_xydata().T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()
    assert (len(x), [text.get_text() for text in axes.texts]) == (7, list("1234567"))

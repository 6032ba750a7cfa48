"""DCL-ENAS's loop with predictors that know everything or nothing, on NAS-Bench-201's cells."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nasrun.config import plugins
from nasrun.genotypes.genotype import Genotype
from nasrun.graphs.paths import effective_paths
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator
from nasrun.protocols.labels import Labels
from nasrun.protocols.predictor import Prediction, Predictor
from nasrun.protocols.space import ArchGraph
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.guided.base import rank_correlation
from nasrun.strategies.guided.dclenas import DCLENAS
from tests.compose import node

MERIT = {"nor_conv_3x3": 3.0, "nor_conv_1x1": 2.0, "avg_pool_3x3": 0.1}


def merit(graph: ArchGraph) -> float:
    """The more convolutions, the better: the best cell has six of 3x3."""
    return sum(MERIT.get(label, 0.0) for label in graph.labels)


class Merits(Evaluator):
    objectives = (VALIDATION_ERROR,)

    def __init__(self, space: NasBench201) -> None:
        self.space = space

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return [Evaluation(g, (1 - merit(self.space.graph(g)) / 20,), 1.0) for g in genotypes]


class Oracle(Predictor):
    """Knows the truth, times `sign`; remembers what it was given."""

    def __init__(self, sign: float = 1.0, deviation: float = 0.0) -> None:
        self.sign, self.deviation = sign, deviation
        self.calls: list[tuple[str, int]] = []
        self.scored: list[ArchGraph] = []

    def pretrain(self, unlabelled: Any, progress: Any) -> dict[str, float]:
        self.calls.append(("pretrain", 0))
        return {"pretrain_loss": 1.0}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        assert values_N == pytest.approx([merit(graph) / 20 for graph in graphs])
        self.calls.append(("fit", len(graphs)))
        self.scored = []

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        self.scored += graphs
        score_N = self.sign * np.array([merit(graph) for graph in graphs])
        return Prediction(score_N, np.full(len(graphs), self.deviation))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls.append(("load", 0))


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return plugins.build(node("space", "nasbench201"))


def make(
    space: Any, oracle: Oracle | None = None, budget: int = 30, seed: int = 0, **changes: Any
) -> DCLENAS:
    settings = {
        "num_labels": budget, "num_initial": 10, "num_infill": 5, "num_generations": 5,
        "population_size": 20, "crossover": 0.5, "proposals": "evolution", "kappa": 0.0,
        "one_per_code": True,
    }  # fmt: skip
    context = SimpleNamespace(
        space=space,
        allowed_space=space,
        streams=RandomStreams(seed),
        progress=lambda *_, **__: None,
        evaluator=Labels(Merits(space), space, budget),
    )
    return DCLENAS(context, predictor=lambda _: oracle or Oracle(), **{**settings, **changes})


def finish(strategy: DCLENAS) -> list[dict[str, float]]:
    reports = []
    while not strategy.finished:
        reports.append(dict(strategy.step().metrics))
    return reports


def test_the_order_is_that_of_algorithm_1(space: NasBench201) -> None:
    oracle = Oracle()
    strategy = make(space, oracle, budget=23)
    reports = finish(strategy)
    assert oracle.calls == [("pretrain", 0), ("fit", 10), ("fit", 15), ("fit", 20)]
    assert [report["labels"] for report in reports] == [0, 10, 15, 20, 23]
    assert len(reports) == strategy.total_steps == 5
    assert reports[0]["pretrain_loss"] == 1.0
    assert all(report["predictor_tau"] == pytest.approx(1.0) for report in reports[2:4])


def test_a_true_predictor_leads_to_the_best_cell_and_a_false_one_away(space: NasBench201) -> None:
    strategy = make(space, Oracle(), num_generations=10, population_size=50)
    finish(strategy)
    (best,) = strategy.best()
    assert {edge.operation for edge in best.cell("cell").edges} == {"nor_conv_3x3"}
    misled = make(space, Oracle(sign=-1.0))
    finish(misled)
    infill = [label.values[0] for label in misled.labels.ledger[10:]]
    assert min(infill) > 0.9


@pytest.mark.parametrize("proposals", ["evolution", "evolution_and_neighbours"])
def test_a_round_labels_one_cell_per_code_and_none_twice(
    proposals: str, space: NasBench201
) -> None:
    strategy = make(space, budget=60, proposals=proposals)
    finish(strategy)
    labels = [label.genotype for label in strategy.labels.ledger]
    assert len({space.canonical(genotype) for genotype in labels}) == 60
    codes = [effective_paths(space.graph(genotype)) for genotype in labels]
    for first in range(10, 60, 5):
        assert len(set(codes[first : first + 5])) == 5


def test_without_the_rule_a_code_may_come_twice(space: NasBench201) -> None:
    strategy = make(space)
    twins = _twins(space)
    scores = dict.fromkeys(twins, 1.0)
    assert strategy.most_promising(scores, 5) == twins[:1]
    strategy.one_per_code = False
    assert strategy.most_promising(scores, 5) == twins


def _twins(space: NasBench201) -> list[Genotype]:
    """Two cells of one hard code that are not isomorphic."""
    seen: dict[Any, Genotype] = {}
    for genotype in space.enumerate():
        paths = effective_paths(space.graph(genotype))
        first = seen.setdefault(paths, genotype)
        if len(paths) > 2 and space.canonical(first) != space.canonical(genotype):
            return [first, genotype]
    raise AssertionError


def test_the_pool_holds_the_neighbours_of_the_five_best(space: NasBench201) -> None:
    oracle = Oracle()
    strategy = make(space, oracle, proposals="evolution_and_neighbours")
    for _ in range(2):
        strategy.step()
    ranked = sorted(strategy.labels.ledger, key=lambda label: label.values[0])
    strategy.step()
    pool = {(graph.labels, graph.adjacency_VV.tobytes()) for graph in oracle.scored}
    for label in ranked[:5]:
        for near in map(space.graph, space.neighbours(label.genotype)):
            assert (near.labels, near.adjacency_VV.tobytes()) in pool
    assert 300 < len(oracle.scored) <= 5 * 24 + 200 + 300


def test_edge_moves_join_the_pool_where_a_space_has_them(space: NasBench201) -> None:
    strategy = make(space)
    centre, other, moved = (space.decode([gene] * 6) for gene in (0, 1, 2))
    assert strategy.around(centre) == space.neighbours(centre)
    strategy.space = SimpleNamespace(neighbours=lambda _: [centre], edge_moves=lambda _: [moved])
    assert strategy.around(other) == [centre, moved]
    assert strategy.around(centre) == space.neighbours(centre)  # once is enough


def test_mutants_in_the_pool_are_up_to_three_edits_away(space: NasBench201) -> None:
    strategy = make(space)
    parent = space.decode([1] * 6)
    genes = np.array([space.encode(strategy.mutant(parent)) for _ in range(300)])
    edits = np.bincount((genes != 1).sum(axis=1), minlength=4)
    assert len(edits) == 4
    assert (edits[1:] > 50).all()  # two edits of one gene are one, or none


def test_fitness_is_an_upper_confidence_bound(space: NasBench201) -> None:
    strategy = make(space, Oracle(deviation=2.0), kappa=0.5)
    for _ in range(3):
        strategy.step()
    cell = space.decode([3, 3, 0, 0, 0, 0])
    assert strategy.score([cell, cell]) == {cell: 6.0 + 1.0}
    assert strategy.score([]) == {}


def test_a_space_smaller_than_the_budget_is_labelled_whole() -> None:
    toy = plugins.build(node("space", "toy"))
    strategy = make(toy, budget=100)
    finish(strategy)
    assert len(strategy.labels) == 64
    assert strategy.finished


def test_a_restored_search_goes_on_and_loads_the_pretrained_encoder(space: NasBench201) -> None:
    whole = make(space)
    finish(whole)
    first = make(space)
    for _ in range(3):
        first.step()
    oracle = Oracle()
    second = make(space, oracle)
    second.load_state_dict(first.state_dict())
    second.rng.bit_generator.state = first.rng.bit_generator.state
    finish(second)
    assert oracle.calls[0] == ("load", 0)
    assert ("pretrain", 0) not in oracle.calls
    assert second.labels.ledger == whole.labels.ledger


def test_rank_correlation_by_hand(space: NasBench201) -> None:
    cell = space.decode([0] * 6)
    evaluations = [Evaluation(cell, (error,), 0.0) for error in (0.1, 0.3, 0.2)]
    # Predicted best to worst: 0, 1, 2; true: 0, 2, 1. Two of three pairs agree.
    assert rank_correlation([3.0, 2.0, 1.0], evaluations) == {"predictor_tau": pytest.approx(1 / 3)}
    assert rank_correlation([1.0, 1.0, 1.0], evaluations) == {}
    assert rank_correlation([1.0], evaluations[:1]) == {}

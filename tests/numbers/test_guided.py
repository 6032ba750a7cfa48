"""NPENAS, BANANAS and what guided searches share, with predictors that know the truth."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.config import plugins
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator
from nasrun.protocols.labels import Labels
from nasrun.protocols.predictor import Prediction, Predictor
from nasrun.protocols.space import ArchGraph
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.guided.bananas import BANANAS
from nasrun.strategies.guided.mutants import MutantSearch
from nasrun.strategies.guided.npenas import NPENAS
from tests.compose import node

METHODS = [NPENAS, BANANAS]
MERIT = {"nor_conv_3x3": 3.0, "nor_conv_1x1": 2.0, "avg_pool_3x3": 0.1}


def merit(graph: ArchGraph) -> float:
    return sum(MERIT.get(label, 0.0) for label in graph.labels)


class Merits(Evaluator):
    objectives = (VALIDATION_ERROR,)

    def __init__(self, space: Any) -> None:
        self.space = space

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return [Evaluation(g, (1 - merit(self.space.graph(g)) / 20,), 1.0) for g in genotypes]


class Oracle(Predictor):
    """Knows the truth; says that it is sure or not."""

    def __init__(self, deviation: float = 0.0) -> None:
        self.deviation = deviation

    def pretrain(self, unlabelled: Any, progress: Any) -> dict[str, float]:
        return {}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        assert values_N == pytest.approx([merit(graph) / 20 for graph in graphs])

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        score_N = np.array([merit(graph) for graph in graphs])
        return Prediction(score_N, np.full(len(graphs), self.deviation))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is none."""


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return plugins.build(node("space", "nasbench201"))


def make(
    method: type[MutantSearch],
    space: Any,
    predictor: Any = None,
    budget: int = 35,
    seed: int = 0,
    **changes: Any,
) -> MutantSearch:
    settings = {"num_initial": 10, "num_infill": 10, "num_parents": 10, "num_candidates": 100}
    context = SimpleNamespace(
        space=space,
        allowed_space=space,
        streams=RandomStreams(seed),
        progress=lambda *_, **__: None,
        evaluator=Labels(Merits(space), space, budget),
    )
    made = predictor or (lambda _: Oracle())
    return method(context, predictor=made, num_labels=budget, **{**settings, **changes})


def finish(strategy: MutantSearch) -> list[dict[str, float]]:
    reports = []
    while not strategy.finished:
        reports.append(dict(strategy.step().metrics))
    return reports


def labelled(strategy: MutantSearch) -> list[Genotype]:
    return [label.genotype for label in strategy.labels.ledger]


def one_edit(space: NasBench201, first: Genotype, second: Genotype) -> bool:
    return sum(a != b for a, b in zip(space.encode(first), space.encode(second), strict=True)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_budget_is_spent_to_the_last_label(method: Any, space: NasBench201) -> None:
    strategy = make(method, space)
    reports = finish(strategy)
    assert [report["labels"] for report in reports] == [0, 10, 20, 30, 35]
    assert strategy.total_steps == 5
    assert len({space.canonical(genotype) for genotype in labelled(strategy)}) == 35
    assert reports[2]["predictor_tau"] == pytest.approx(1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_round_labels_neighbours_of_the_best(method: Any, space: NasBench201) -> None:
    strategy = make(method, space, num_parents=3)
    for _ in range(2):
        strategy.step()
    ranked = sorted(strategy.labels.ledger, key=lambda label: label.values)
    parents = [label.genotype for label in ranked[:3]]
    infill = [label.genotype for label in strategy.step().evaluations]
    assert len(infill) == 10
    for genotype in infill:
        assert any(one_edit(space, genotype, parent) for parent in parents)


def test_parents_take_turns_and_mutants_are_new(space: NasBench201) -> None:
    strategy = make(NPENAS, space)
    for _ in range(2):
        strategy.step()
    parents = [space.decode([3] * 6), space.decode([1, 2, 3, 4, 1, 2])]
    mutants = strategy.mutants(parents)
    known = [space.canonical(genotype) for genotype in [*mutants, *labelled(strategy)]]
    assert len(set(known)) == len(known)
    of_the_first = [one_edit(space, mutant, parents[0]) for mutant in mutants]
    assert len(mutants) == 2 * 24  # all that there are
    assert of_the_first[:6] == [True, False] * 3


def test_npenas_labels_the_highest_scores(space: NasBench201) -> None:
    strategy, twin = make(NPENAS, space), make(NPENAS, space)
    for _ in range(2):
        strategy.step()
        twin.step()
    ranked = sorted(twin.labels.ledger, key=lambda label: label.values)
    candidates = twin.mutants([label.genotype for label in ranked[:10]])
    assert len(candidates) == 100
    merits = sorted((merit(space.graph(genotype)) for genotype in candidates), reverse=True)
    report = strategy.step()
    assert [merit(space.graph(e.genotype)) for e in report.evaluations] == merits[:10]
    assert [e.details["predicted"] for e in report.evaluations] == merits[:10]


def test_bananas_draws_once_for_each_candidate_from_the_searchs_stream(
    space: NasBench201,
) -> None:
    unsure = {"predictor": lambda _: Oracle(deviation=3.0)}
    strategy, twin = make(BANANAS, space, **unsure), make(BANANAS, space, **unsure)
    for _ in range(2):
        strategy.step()
        twin.step()
    ranked = sorted(twin.labels.ledger, key=lambda label: label.values)
    candidates = twin.mutants([label.genotype for label in ranked[:10]])
    merit_C = np.array([merit(space.graph(genotype)) for genotype in candidates])
    draws_C = merit_C + 3.0 * twin.rng.standard_normal(100)
    expected = [candidates[i] for i in np.argsort(-draws_C)[:10]]
    report = strategy.step()
    assert [e.genotype for e in report.evaluations] == expected
    assert strategy.rng.bit_generator.state == twin.rng.bit_generator.state
    # What is kept beside a label is the prediction, not the draw.
    predicted = [e.details["predicted"] for e in report.evaluations]
    assert predicted == [merit(space.graph(genotype)) for genotype in expected]


@pytest.mark.parametrize("method", METHODS)
def test_a_space_smaller_than_the_budget_is_labelled_whole(method: Any) -> None:
    strategy = make(method, plugins.build(node("space", "toy")), budget=100)
    finish(strategy)
    assert len(strategy.labels) == 64
    assert strategy.finished


def path_mlp(generator: torch.Generator) -> Any:
    return plugins.build(node("predictor", "path_mlp", num_epochs=5), generator)


def test_predicting_changes_nothing(space: NasBench201) -> None:
    strategies = [make(BANANAS, space, path_mlp) for _ in range(2)]
    others = [space.sample(np.random.default_rng(1)) for _ in range(20)]
    for _ in range(3):
        for strategy in strategies:
            strategy.step()
    first, again = (strategies[0].predict(others) for _ in range(2))
    assert first.score_N.tolist() == again.score_N.tolist()
    assert strategies[0].predict([]).score_N.shape == (0,)
    for strategy in strategies:
        finish(strategy)
    assert labelled(strategies[0]) == labelled(strategies[1])


def test_a_search_restored_at_its_end_still_predicts_as_it_did(space: NasBench201) -> None:
    whole = make(BANANAS, space, path_mlp)
    finish(whole)
    restored = make(BANANAS, space, path_mlp, seed=1)
    before = restored.generator.get_state()
    restored.load_state_dict(whole.state_dict())
    assert torch.equal(restored.generator.get_state(), before)
    others = [space.sample(np.random.default_rng(1)) for _ in range(20)]
    expected, prediction = whole.predict(others), restored.predict(others)
    assert restored.num_fitted == 30  # the last five labels came after the last fit
    assert prediction.score_N.tolist() == expected.score_N.tolist()
    assert prediction.deviation_N.tolist() == expected.deviation_N.tolist()


def test_there_is_nothing_to_predict_with_before_the_first_round(space: NasBench201) -> None:
    strategy = make(NPENAS, space)
    for _ in range(2):
        strategy.step()
    genotypes = list(labelled(strategy))
    graphs = [space.graph(genotype) for genotype in genotypes]
    assert strategy.rank(genotypes, graphs) is None
    strategy.step()
    assert strategy.rank(genotypes, graphs).score_N.tolist() == [merit(graph) for graph in graphs]


def test_climbers_take_the_predicted_best_neighbours_of_the_incumbent(space: NasBench201) -> None:
    """Three of a round's ten labels go to the neighbours that the oracle likes best; the others go
    to what the method proposes, none of them isomorphic to a climber."""
    strategy = make(NPENAS, space, climbers=3, num_parents=1)
    for _ in range(2):
        strategy.step()
    best = min(strategy.labels.ledger, key=lambda label: label.values).genotype
    known = {space.canonical(label.genotype) for label in strategy.labels.ledger}
    near = {space.canonical(one): merit(space.graph(one)) for one in space.neighbours(best)}
    expected = sorted((near[key] for key in near if key not in known), reverse=True)[:3]
    infill = [label.genotype for label in strategy.step().evaluations]
    assert len({space.canonical(genotype) for genotype in infill}) == 10
    assert [merit(space.graph(genotype)) for genotype in infill[:3]] == expected
    assert all(one_edit(space, genotype, best) for genotype in infill[:3])


def test_all_labels_of_a_round_can_climb(space: NasBench201) -> None:
    strategy = make(NPENAS, space, climbers=10)
    for _ in range(2):
        strategy.step()
    best = min(strategy.labels.ledger, key=lambda label: label.values).genotype
    infill = [label.genotype for label in strategy.step().evaluations]
    assert len(infill) == 10
    assert all(one_edit(space, genotype, best) for genotype in infill)

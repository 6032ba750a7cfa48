"""What is said of a search from outside: regret, Kendall's tau, figures, floors."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.config import plugins
from nasrun.engine.insight import Insight
from nasrun.engine.search import against_floors, of_published_cells
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator, StepReport
from nasrun.protocols.labels import Labels
from nasrun.protocols.predictor import Prediction, Ranking
from nasrun.protocols.result import AgainstFloors, Control, Ranked, TableEntry
from tests.compose import node

SPACE = plugins.build(node("space", "toy"))
GENOTYPES = list(SPACE.enumerate())[:6]
ERRORS = (0.5, 0.3, 0.4, 0.1, 0.2, 0.6)


class Known(Evaluator):
    """An evaluator that knows six architectures; the optimum of its space is 0.95."""

    objectives = (VALIDATION_ERROR,)
    optimum = 0.95

    def evaluate(self, genotypes: Sequence) -> list[Evaluation]:
        return [Evaluation(g, (ERRORS[GENOTYPES.index(g)],), 10.0) for g in genotypes]

    def held_out(self, labels: Sequence[Evaluation], limit: int) -> tuple[list, list, list]:
        labelled = {label.genotype for label in labels}
        rest = [i for i, genotype in enumerate(GENOTYPES) if genotype not in labelled][:limit]
        found = [GENOTYPES[i] for i in rest]
        return found, [SPACE.graph(one) for one in found], 1.0 - np.array([ERRORS[i] for i in rest])


class Blind(Evaluator):
    """One that knows nothing besides its labels."""

    needs_images = False


def strategy(num_labels: int, scores: Sequence[float]) -> SimpleNamespace:
    """It bought the first labels, the last two because of a prediction."""
    labels = Labels(Known(), SPACE, 6)
    labels.evaluate(GENOTYPES[: num_labels - 2])
    labels.evaluate(GENOTYPES[num_labels - 2 : num_labels], [2.0, 1.0])
    rank = lambda _, graphs: Prediction(np.array(scores[: len(graphs)]), np.zeros(len(graphs)))  # noqa: E731
    return SimpleNamespace(labels=labels, rank=rank, predicts=True)


def test_regret_and_taus_by_hand() -> None:
    bought = strategy(3, [1.0, 3.0, 2.0])  # the rest has accuracies .9, .8, .4
    insight = Insight(bought, Known())
    report = StepReport({"best_val_accuracy": 0.7})
    metrics = insight.metrics(report, last=True)
    assert metrics["regret"] == pytest.approx(0.25)
    # Of three pairs of held-out scores, one is in the right order.
    assert metrics["held_out_tau"] == pytest.approx(-1 / 3)
    assert metrics["infill_tau"] == pytest.approx(1.0)  # scores 2, 1; accuracies .7, .6
    assert insight.ranked(metrics) == Ranked(held_out_tau=metrics["held_out_tau"], infill_tau=1.0)
    np.testing.assert_allclose(insight.best_so_far(), [0.45, 0.25, 0.25])
    assert insight.label_seconds == 30.0
    names = [name for name, _ in insight.figures()]
    assert names == ["best_so_far", "predictor"]


def test_without_such_an_evaluator_only_what_was_bought_is_known() -> None:
    insight = Insight(strategy(3, []), Blind())
    assert insight.metrics(StepReport({"best_val_accuracy": 0.7}), last=True) == {"infill_tau": 1.0}
    np.testing.assert_allclose(insight.best_so_far(), [0.5, 0.3, 0.3])


def test_a_strategy_on_alphas_has_nothing_to_show() -> None:
    insight = Insight(SimpleNamespace(labels=None, predicts=False), Blind())
    metrics = insight.metrics(StepReport({"val_accuracy": 0.7}), last=True)
    assert (metrics, insight.ranked(metrics), list(insight.figures())) == ({}, None, [])


def test_order_that_is_none_has_no_tau() -> None:
    assert Ranking(np.array([1.0, 1.0]), np.array([0.2, 0.3])).tau is None
    assert Ranking(np.array([1.0, 2.0]), np.array([0.3, 0.3])).tau is None


def test_the_best_floor_counts_and_a_tie_beats_nothing() -> None:
    floors = {"ridge_evolution": 0.5, "local_search": 0.75}
    assert against_floors(0.75, floors) == AgainstFloors(
        strategies=floors, best="local_search", beaten=False, by=0.0
    )
    assert against_floors(0.625, floors).by == -0.125


def test_published_cells_of_a_table_are_floors() -> None:
    cells = [
        Control(name=name, val_accuracy=val, test_accuracy=0.5, percentile=9.0)
        for name, val in (("resnet", 0.875), ("of a table without validation", None))
    ]
    figures = {"val_accuracy": None, "test_accuracy": 0.5, "regret": 0.1, "percentile": 9.0}
    table = TableEntry(
        file="", signal="", datasets={}, control=None, references=tuple(cells), **figures
    )
    assert of_published_cells(table) == {"resnet": 0.875}
    assert of_published_cells(None) == {}

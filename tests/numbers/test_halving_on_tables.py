"""Successive halving between short and full trainings that a table knows, and what learns of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks.table import Columns
from nasrun.config.checks import unread_overrides
from nasrun.config.compose import to_typed
from nasrun.config.schema import BudgetConfig, SearchConfig
from nasrun.engine.drive import Spent
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.table_halving import Competition, require_shorter
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation
from nasrun.spaces.toy import Toy
from nasrun.strategies.guided.fidelity import comparable
from tests.compose import composed
from tests.made_tables import nasbench201

GENOTYPES = list(Toy().enumerate())[:5]
FULL_R = np.array([0.90, 0.91, 0.92, 0.93, np.nan])
SHORT_R = np.array([0.70, 0.75, 0.60, 0.72, 0.50])
COLUMNS = Columns(FULL_R, FULL_R, np.full(5, 1000.0), epochs=200, shorter={12: SHORT_R})


def competition(columns: Columns = COLUMNS) -> Competition:
    return Competition(columns, 2, (VALIDATION_ERROR,))


def test_the_best_half_is_trained_in_full_by_hand() -> None:
    """Of .70, .75, .60, .72 the second and the fourth go on; 12 epochs are 60 of 1,000 seconds."""
    labels = competition().labels(GENOTYPES[:4], [0, 1, 2, 3])
    assert [label.values[0] for label in labels] == pytest.approx([0.30, 0.09, 0.40, 0.07])
    assert [label.details["epochs"] for label in labels] == [12, 212, 12, 212]
    assert [label.details["fully_trained"] for label in labels] == [0, 1, 0, 1]
    assert [label.details["short_val_accuracy"] for label in labels] == [0.70, 0.75, 0.60, 0.72]
    assert [label.cost_s for label in labels] == pytest.approx([60, 1060, 60, 1060])


def test_one_candidate_alone_competes_with_nobody() -> None:
    (label,) = competition().labels(GENOTYPES[:1], [0])
    assert (label.values, label.details["epochs"]) == ((pytest.approx(0.10),), 200)
    assert "short_val_accuracy" not in label.details


def test_what_was_never_trained_in_full_fails_where_it_would_be() -> None:
    best_last_R = np.array([0.1, 0.1, 0.1, 0.1, 0.9])
    columns = Columns(FULL_R, FULL_R, None, epochs=200, shorter={12: best_last_R})
    labels = competition(columns).labels(GENOTYPES[3:], [3, 4])
    assert labels[1].error == "the table has no value of this architecture after 200 epochs"
    assert labels[0].error is None


def test_a_table_without_short_trainings_says_so() -> None:
    table = SimpleNamespace(path=Path("made.npz"))
    columns = Columns(FULL_R, FULL_R, None)
    with pytest.raises(UsageError, match=r"made\.npz has none of cifar10: leave it out"):
        require_shorter(table, columns, "cifar10", 3)  # type: ignore[arg-type]
    require_shorter(table, COLUMNS, "cifar10", 3)  # type: ignore[arg-type]


def test_values_of_isomorphic_cells_are_averaged_after_a_short_training_too() -> None:
    averaged = COLUMNS.averaged(np.array([0, 0, 1, 1, 2]))
    assert averaged.shorter[12].tolist() == pytest.approx([0.725, 0.725, 0.66, 0.66, 0.50])


def label(full: float | None, short: float | None) -> Evaluation:
    details = {} if short is None else {"short_val_accuracy": short}
    details["fully_trained"] = float(full is not None)
    accuracy = short if full is None else full
    assert accuracy is not None
    return Evaluation(GENOTYPES[0], (1.0 - accuracy,), 0.0, details)


def test_losers_are_carried_over_by_the_line_of_the_winners() -> None:
    """Winners lie on full = .5 + short / 2, so that a loser with .4 is expected to have .7."""
    labels = [label(0.85, 0.7), label(0.9, 0.8), label(0.8, 0.6), label(None, 0.4)]
    assert comparable(labels) == pytest.approx([0.85, 0.9, 0.8, 0.7])


def test_of_two_winners_the_mean_difference_counts() -> None:
    labels = [label(0.90, 0.7), label(0.92, 0.8), label(None, 0.6)]  # differences .20 and .12
    assert comparable(labels) == pytest.approx([0.90, 0.92, 0.76])


def test_a_line_that_falls_is_not_believed() -> None:
    labels = [label(0.90, 0.8), label(0.92, 0.7), label(0.94, 0.6), label(None, 0.5)]
    assert comparable(labels)[3] == pytest.approx(0.5 + (0.10 + 0.22 + 0.34) / 3)


def test_labels_that_were_trained_alike_are_left_alone() -> None:
    plain = [Evaluation(GENOTYPES[0], (error,), 0.0) for error in (0.3, 0.1, np.inf)]
    assert comparable(plain).tolist() == [0.7, 0.9, -np.inf]
    only_short = [label(None, 0.4), label(None, 0.5)]
    assert comparable(only_short) == pytest.approx([0.4, 0.5])


def test_a_budget_of_epochs_ends_a_search() -> None:
    budget = BudgetConfig(epochs=1, evaluations=100, seconds=None, label_epochs=1192)
    assert not Spent(evaluations=8, label_epochs=1191).exhausts(budget)
    assert Spent(evaluations=8, label_epochs=1192).exhausts(budget)
    assert Spent.restored(
        {"steps": 1, "evaluations": 2, "seconds": 3.0, "best_accuracy": None, "last": None,
         "guard": {"said": {}, "recent": {}}}
    ).label_epochs == 0  # fmt: skip


def test_a_search_on_a_table_buys_short_trainings_first(tmp_path: Path) -> None:
    arrays = nasbench201()
    arrays["cifar10_val_12"] = np.asarray(arrays["cifar10_val_200"]) / 2
    np.savez(tmp_path / "made.npz", **arrays)
    words = ["strategy=random", "evaluator=table", "dataset=cifar10", "budget.evaluations=8"]
    words += [f"evaluator.file={tmp_path / 'made.npz'}", "evaluator.halving=4"]
    search = Wiring(to_typed(composed(words), SearchConfig)).strategy
    while not search.finished:
        search.step()
    epochs = [label.details["epochs"] for label in search.labels.ledger]
    assert sorted(epochs[:4]) == sorted(epochs[4:]) == [12, 12, 12, 212]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strategy=egnas", "evaluator.halving=3"], "EGNAS buys no labels that could compete"),
        (["strategy=random", "budget.label_epochs=300"], "only labels of successive halving say"),
        (["strategy=random", "evaluator.halving=3", "budget.label_epochs=300"], None),
    ],
)
def test_what_nothing_reads_is_told(words: list[str], told: str | None) -> None:
    found = list(unread_overrides(composed(["evaluator=table", *words]), words))
    assert (told in found[0]) if told else (found == [])

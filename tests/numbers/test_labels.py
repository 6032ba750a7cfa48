"""The ledger: what costs a label, what a failure leaves behind, what a checkpoint brings back."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from nasrun.errors import RunError, UsageError
from nasrun.genotypes.text import parse
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator, Objective
from nasrun.protocols.labels import MAX_MISSES, Labels, failed
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.toy import Toy

TOY = Toy()
ERRORS = {(0, 0, 0): 0.5, (0, 0, 1): 0.25, (0, 0, 2): 0.25, (0, 0, 3): 0.75}


class Scripted(Evaluator):
    """Looks errors up by genes, and raises what it finds in their place."""

    objectives = (VALIDATION_ERROR,)
    needs_images = False

    def __init__(self, outcomes=ERRORS, space=TOY) -> None:
        self.outcomes, self.space = outcomes, space
        self.asked = []

    def evaluate(self, genotypes):
        (genotype,) = genotypes
        genes = self.space.encode(genotype)
        self.asked.append(genes)
        outcome = self.outcomes.get(genes, 0.9)
        if isinstance(outcome, Exception):
            raise outcome
        return [Evaluation(genotype, (outcome,), 2.0, {"train_loss": 1.5})]


def cells(*last_genes: int):
    return [TOY.decode((0, 0, gene)) for gene in last_genes]


def test_a_label_is_paid_once() -> None:
    evaluator = Scripted()
    labels = Labels(evaluator, TOY, budget=10)
    assert [e.values for e in labels.evaluate(cells(0, 1, 0))] == [(0.5,), (0.25,), (0.5,)]
    assert [e.values for e in labels.evaluate(cells(1, 3))] == [(0.25,), (0.75,)]
    assert evaluator.asked == [(0, 0, 0), (0, 0, 1), (0, 0, 3)]
    assert (len(labels), labels.remaining) == (3, 7)
    assert cells(3)[0] in labels
    assert cells(2)[0] not in labels


def test_isomorphic_cells_share_a_label() -> None:
    space = NasBench201(channels=4, cells=1, partial_channels=1)
    direct = parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    detour = parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
    evaluator = Scripted({space.encode(direct): 0.1}, space)
    labels = Labels(evaluator, space, budget=10)
    (first,), (second,) = labels.evaluate([direct]), labels.evaluate([detour])
    assert second.values == first.values == (0.1,)
    assert (first.genotype, second.genotype) == (direct, detour)  # each gets what it asked for
    assert [label.genotype for label in labels.ledger] == [direct]


def test_the_budget_is_never_exceeded() -> None:
    evaluator = Scripted()
    labels = Labels(evaluator, TOY, budget=2)
    assert [e.genotype for e in labels.evaluate(cells(3, 0, 1, 3))] == cells(3, 0, 3)
    assert len(evaluator.asked) == 2
    assert (labels.remaining, labels.finished) == (0, True)
    assert labels.evaluate(cells(2)) == []
    assert [e.values for e in labels.evaluate(cells(0))] == [(0.5,)]  # known, hence free


def test_a_method_may_ask_for_less_than_the_budget() -> None:
    labels = Labels(Scripted(), TOY, budget=5)
    assert labels.limited(2) is labels
    assert labels.limited(9).remaining == 2
    with pytest.raises(UsageError, match=r"budget.evaluations=0 is not possible"):
        labels.limited(0)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (RunError("the training loss is nan"), "the training loss is nan"),
        (RuntimeError("out of memory"), "out of memory"),
        (MemoryError(), "MemoryError()"),
        (math.nan, "its values are (nan,)"),
    ],
    ids=str,
)
def test_a_failed_training_is_a_label(outcome, error: str) -> None:
    labels = Labels(Scripted({(0, 0, 0): outcome, (0, 0, 1): 0.5}), TOY, budget=10)
    failed, good = labels.evaluate(cells(0, 1))
    assert (failed.values, failed.error) == ((math.inf,), error)
    assert labels.best() == good
    assert labels.report().metrics["failed_labels"] == 1
    assert len(labels) == 2


@pytest.mark.parametrize("fault", [UsageError("no such file"), TypeError("ours")], ids=str)
def test_mistakes_and_faults_are_no_labels(fault: Exception) -> None:
    labels = Labels(Scripted({(0, 0, 0): fault}), TOY, budget=10)
    with pytest.raises(type(fault)):
        labels.evaluate(cells(0))
    assert len(labels) == 0


def test_an_architecture_outside_the_space_is_refused() -> None:
    labels = Labels(Scripted(), TOY, budget=10)
    stranger = parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    with pytest.raises(UsageError, match="the genotype is of space 'nasbench201'"):
        labels.evaluate([stranger])


def test_best_is_the_first_among_equals() -> None:
    labels = Labels(Scripted(), TOY, budget=10)
    labels.evaluate(cells(0, 2, 1, 3))
    assert labels.best().genotype == cells(2)[0]


def test_without_a_usable_label_there_is_no_best() -> None:
    outcomes = {(0, 0, gene): RunError("the training loss is inf") for gene in range(4)}
    labels = Labels(Scripted(outcomes), TOY, budget=2)
    labels.evaluate(cells(0, 1, 2))
    report = labels.report()
    assert report.metrics == {"labels": 2, "failed_labels": 2}
    assert report.incumbent is None
    with pytest.raises(RunError, match="none of 2 evaluations succeeded: the training loss is inf"):
        labels.best()


def test_a_report_has_what_is_new() -> None:
    labels = Labels(Scripted(), TOY, budget=10)
    labels.evaluate(cells(1, 3))
    report = labels.report({"temperature": 3.0})
    assert report.metrics == {
        "labels": 2, "failed_labels": 0, "val_accuracy": 0.25, "best_val_accuracy": 0.75,
        "temperature": 3.0,
    }  # fmt: skip
    assert [e.genotype for e in report.evaluations] == cells(1, 3)
    assert report.incumbent == cells(1)[0]
    labels.evaluate(cells(1, 0))
    assert [e.genotype for e in labels.new()] == cells(0)
    assert labels.new() == ()


def test_evaluate_new_draws_until_it_finds_something_new() -> None:
    labels = Labels(Scripted(), TOY, budget=10)
    labels.evaluate(cells(0))
    drawn = itertools.cycle(cells(0, 0, 1, 1, 0, 3, 2))
    found = labels.evaluate_new(2, lambda: next(drawn))
    assert [e.genotype for e in found] == cells(1, 3)
    assert not labels.finished


def test_evaluate_new_turns_to_the_next_source_and_then_ends() -> None:
    labels = Labels(Scripted(), TOY, budget=10)
    calls = []

    def known():
        calls.append("known")
        return cells(0)[0]

    others = itertools.cycle(cells(0, 1))
    found = labels.evaluate_new(3, known, lambda: next(others))
    assert [e.genotype for e in found] == cells(0, 1)  # and a third one there is not
    assert len(calls) == 1 + MAX_MISSES
    assert labels.finished
    assert labels.remaining == 8


def test_a_restored_ledger_pays_nothing_twice(tmp_path) -> None:
    outcomes = {**ERRORS, (0, 0, 3): RunError("diverged")}
    labels = Labels(Scripted(outcomes), TOY, budget=3)
    labels.evaluate(cells(1, 3))
    labels.new()
    torch.save(labels.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    evaluator = Scripted(outcomes)
    restored = Labels(evaluator, TOY, budget=3)
    restored.load_state_dict(state)
    assert restored.ledger == labels.ledger
    assert restored.new() == ()
    assert restored.evaluate(cells(3, 1)) == labels.evaluate(cells(3, 1))
    assert evaluator.asked == []
    restored.evaluate(cells(0, 2))
    assert evaluator.asked == [(0, 0, 0)]  # the one label that was left


class Together(Scripted):
    """An evaluator that takes all at once, of which three are worked on side by side."""

    at_once = 3

    def evaluate(self, genotypes):
        self.asked.append([self.space.encode(genotype)[-1] for genotype in genotypes])
        return [self.one(genotype) for genotype in genotypes]

    def one(self, genotype):
        error = self.outcomes[self.space.encode(genotype)]
        if error == math.inf:
            return failed(genotype, "killed", 0.5, self.objectives)
        return Evaluation(genotype, (error,), 2.0)


def test_all_that_is_new_is_bought_in_one_call() -> None:
    evaluator = Together({**ERRORS, (0, 0, 1): math.inf})
    labels = Labels(evaluator, TOY, budget=3)
    found = labels.evaluate(cells(0, 1, 0, 2, 3, 1), predicted=[9, 8, 7, 6, 5, 4])
    assert evaluator.asked == [[0, 1, 2]]  # each once, and what the budget allows
    assert [e.values[0] for e in found] == [0.5, math.inf, 0.5, 0.25, math.inf]
    assert [e.error for e in labels.ledger] == [None, "killed", None]
    assert [e.details["predicted"] for e in labels.ledger] == [9, 8, 6]
    assert labels.evaluate(cells(2, 3)) == labels.evaluate(cells(2))
    assert evaluator.asked == [[0, 1, 2]]


def test_what_comes_next_is_bought_ahead_and_counts_when_it_is_asked_for() -> None:
    evaluator = Together()
    labels = Labels(evaluator, TOY, budget=4)
    drawn = iter(cells(2, 0, 2, 1, 3, 3))
    (first,) = labels.evaluate_next(lambda: next(drawn), most=9)
    assert (first.genotype, len(labels), labels.remaining) == (cells(2)[0], 1, 3)
    assert evaluator.asked == [[2, 0, 1]]
    assert labels.report().evaluations == (first,)
    restored = Labels(Scripted(), TOY, budget=4)  # what was paid for is not paid again
    restored.load_state_dict(labels.state_dict())
    for ledger in (labels, restored):
        found = [ledger.evaluate_next(lambda: cells(3)[0], most=2) for _ in range(4)]
        assert [[e.genotype for e in some] for some in found] == [cells(0), cells(1), cells(3), []]
        assert [e.values for e in ledger.ledger] == [(0.25,), (0.5,), (0.25,), (0.75,)]
        assert ledger.finished
    assert evaluator.asked == [[2, 0, 1], [3]]


def test_a_source_that_is_spent_ends_the_search() -> None:
    labels = Labels(Together(), TOY, budget=9)
    found = [labels.evaluate_next(lambda: cells(1)[0], most=9) for _ in range(2)]
    assert [len(some) for some in found] == [1, 0]
    assert labels.finished


def test_an_objective_that_is_maximised_costs_its_negative_and_fails_at_the_bottom() -> None:
    accuracy = Objective("accuracy", "fraction", "maximise")
    assert accuracy.cost(0.75) == -0.75
    assert VALIDATION_ERROR.cost(0.25) == 0.25
    broken = failed(cells(0)[0], "killed", 1.0, [VALIDATION_ERROR, accuracy])
    assert broken.values == (math.inf, -math.inf)

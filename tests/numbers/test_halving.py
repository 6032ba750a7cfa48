"""Successive halving: who goes on, what it costs, and that stretches come to the same weights."""

from __future__ import annotations

from typing import Any

import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.evaluators.one_training import Stretch
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.halving import rungs, survivors
from nasrun.protocols.labels import validation_error
from tests.compose import composed
from tests.numbers.test_label_workers import Backwards, trajectory

QUICK = ["strategy=random", "space=toy", "dataset=synthetic", "dataset.num_train=64"]
QUICK += ["dataset.noise=200", "evaluator.epochs=4", "evaluator.learning_rate=0.01"]
GENES = [(1, 1, 1), (0, 1, 2), (2, 3, 3), (1, 0, 0), (3, 1, 0)]


def wired(*overrides: str) -> Wiring:
    return Wiring(to_typed(composed([*QUICK, *overrides]), SearchConfig))


def labels(wiring: Wiring) -> list[Evaluation]:
    return wiring.raw_evaluator.evaluate([wiring.space.decode(genes) for genes in GENES])


def test_rungs_divide_the_epochs_by_eta() -> None:
    assert rungs(1, 81, 3) == (1, 3, 9, 27, 81)
    assert rungs(2, 10, 3) == (3, 10)  # 10 // 9 = 1 is below 2
    assert rungs(1, 1, 2) == (1,)


def test_failures_and_ties_and_few_candidates() -> None:
    inf = float("inf")
    assert survivors([0.5, inf, 0.5, 0.1], 2) == [3, 0]
    assert survivors([inf, inf, inf, 0.1], 2) == [3]
    assert survivors([inf, inf], 2) == []
    assert survivors([0.3, 0.2], 3) == [1]  # one at least


def test_the_best_go_on_to_the_labels_that_they_would_have_without() -> None:
    """Five train for one epoch, two of them for two, one for four; by a training in one go."""
    full, halved = wired(), wired("evaluator.halving=2")
    evaluator = full.raw_evaluator

    def after(genes: tuple[int, ...], epochs: int) -> Evaluation:
        """Train in one go to an epoch of the schedule of four."""
        return evaluator._attempted(Stretch(full.space.decode(genes), epochs))[0]

    first = [after(genes, 1) for genes in GENES]
    two = survivors([validation_error(one) for one in first], 2)
    second = {place: after(GENES[place], 2) for place in two}
    winner = two[survivors([validation_error(second[place]) for place in two], 2)[0]]
    expected = {place: (1, one) for place, one in enumerate(first)}
    expected |= {place: (2, one) for place, one in second.items()}
    expected[winner] = 4, labels(full)[winner]

    found = labels(halved)
    assert [one.details["epochs"] for one in found] == [expected[n][0] for n in range(5)]
    assert [one.values for one in found] == [expected[n][1].values for n in range(5)]
    losses = [one.details["train_loss"] for one in found]
    assert losses == [expected[n][1].details["train_loss"] for n in range(5)]
    assert sum(one.details["epochs"] for one in found) == 5 * 1 + 2 * 1 + 1 * 2


def test_what_stands_alone_is_trained_to_the_end() -> None:
    halved, full = wired("evaluator.halving=2"), wired()
    (found,) = halved.raw_evaluator.evaluate([halved.space.decode(GENES[0])])
    assert found.details["epochs"] == 4
    assert found.values == labels(full)[0].values
    assert "epochs" not in labels(full)[0].details


def test_a_candidate_that_fails_goes_on_nowhere() -> None:
    wiring = wired("evaluator.halving=2", "evaluator.workers=2")
    wiring.raw_evaluator._workers = Backwards(wiring, dies=[0])
    found = labels(wiring)  # the first dies in each rung
    assert found[0].error == "dead"
    assert found[0].details["epochs"] == 1


@pytest.mark.parametrize("strategy", ["random", "genetic", "ridge_evolution"])
def test_brackets_do_not_depend_on_workers_and_go_on_after_a_crash(strategy: str) -> None:
    words = [f"strategy={strategy}", "budget.evaluations=8", "evaluator.halving=2"]
    expected = trajectory(wired(*words))
    spent = [report[1].get("label_epochs", 0) for report in expected]
    assert 8 < spent[-1] < 8 * 4
    assert spent == sorted(spent)

    first = wired(*words, "evaluator.workers=3")
    first.raw_evaluator._workers = Backwards(first)
    begun = trajectory(first, steps=2)
    second: Any = wired(*words)
    second.strategy.load_state_dict(first.strategy.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    assert begun + trajectory(second) == expected

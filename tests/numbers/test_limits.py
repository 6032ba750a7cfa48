"""Limits on what a network costs: what is allowed, derived, bought, and told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.benchmarks import store
from nasrun.cli.main import main
from nasrun.config.checks import all_faults, unread_overrides
from nasrun.config.compose import to_typed
from nasrun.config.identity import decisive
from nasrun.config.schema import SearchConfig
from nasrun.engine.insight import Insight
from nasrun.engine.limits import hypervolume_of
from nasrun.engine.wiring import Wiring
from nasrun.errors import RunError, UsageError
from nasrun.objectives.few_measurements import FewMeasurements, fit
from nasrun.objectives.limited_space import Likelihood, LimitedSpace
from nasrun.objectives.limits import LimitsOfRun
from nasrun.objectives.roster import is_connected
from nasrun.protocols.evaluation import Evaluation, Evaluator, Objective, StepReport
from nasrun.protocols.labels import Labels
from nasrun.protocols.measure import Limit, Measure
from nasrun.protocols.result import Final, FrontMember, TableEntry
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.toy import Toy
from tests.commands.pictures import without_pictures
from tests.compose import composed
from tests.long import limits as long

TOY, CELLS = Toy(), NasBench201(channels=4, cells=1, partial_channels=1)
needs_data = pytest.mark.skipif(
    not (Path(os.environ.get("NASRUN_DATA", "")) / "nasbench201_hardware.npz").is_file(),
    reason="NASRUN_DATA has no nasbench201_hardware.npz",
)


class SumOfGenes(Measure):
    """A cost of 10 a gene, and one more for the second: 10 a + 11 b + 10 c of the toy space."""

    objective, quantity, how = Objective("cost", "coins"), "cost", "added up"
    is_bought = True

    def __init__(self, space: Any = TOY, is_quick: bool = True) -> None:
        self.space, self.is_quick = space, is_quick
        self.asked: list[Any] = []

    def measure(self, genotype) -> float:
        self.asked.append(genotype)
        genes = self.space.encode(genotype)
        return float(10 * sum(genes) + genes[1])


def limits(at_most: float, space: Any = TOY, few: int | None = None, **how: Any) -> LimitsOfRun:
    measure = SumOfGenes(space, **how)
    rng = np.random.default_rng(0)
    return LimitsOfRun(space, [Limit("constraint.objective", measure, at_most)], few, rng)


def genes(genotype) -> tuple[int, ...]:
    return TOY.encode(genotype)


def test_all_ways_to_propose_keep_to_the_limit() -> None:
    space, rng = LimitedSpace(TOY, limits(20.0)), np.random.default_rng(0)
    allowed = {genes for genes in map(space.encode, TOY.enumerate())
               if 10 * sum(genes) + genes[1] <= 20}  # fmt: skip
    assert len(allowed) == 7
    parents = [space.sample(rng) for _ in range(40)]
    made = [*parents, *(space.mutate(one, rng) for one in parents)]
    made += [space.crossover(one, parents[0], rng) for one in parents]
    made += [near for one in parents for near in space.neighbours(one)]
    made += [space.from_vector(rng.random(3)) for _ in range(40)]
    made += [space.decode(genes) for genes in ((3, 3, 3), (0, 2, 0), (1, 1, 0))]
    assert {genes(one) for one in made} == allowed
    assert all(space.mutate(one, rng) != one for one in parents)


def test_the_nearest_allowed_genes_are_taken() -> None:
    held = limits(20.0)
    assert genes(held.moved(TOY.decode((2, 3, 0)))) == (2, 0, 0)
    assert genes(held.moved(TOY.decode((1, 0, 1)))) == (1, 0, 1)


@pytest.mark.parametrize("seed", range(2))
def test_the_likeliest_cell_within_the_limit_is_derived(seed: int) -> None:
    """By a look at all 15,625 for the list, and by no better neighbour for the climb."""
    weights = {"cell": torch.rand((6, 5), generator=torch.Generator().manual_seed(seed))}
    held = limits(60.0, CELLS)
    likelihood = Likelihood(CELLS, weights, None)
    found = LimitedSpace(CELLS, held).discretise(weights)
    log_EO = weights["cell"].log().double().numpy()
    genes_NE = np.array([CELLS.encode(one) for one in held.roster.genotypes])
    score_N = log_EO[np.arange(6), genes_NE].sum(axis=1)
    within_N = np.array([held.allows(one) for one in held.roster.genotypes])
    assert likelihood.of(found) == pytest.approx(score_N[within_N].max())
    assert not held.allows(CELLS.discretise(weights)) or found == CELLS.discretise(weights)

    held.roster = None  # as in a space that is too large for a list
    space = LimitedSpace(CELLS, held)
    climbed = space.discretise(weights)
    assert held.holds(climbed)
    assert all(likelihood.of(one) <= likelihood.of(climbed) for one in space.neighbours(climbed))


def test_what_does_not_depend_on_its_input_is_never_allowed() -> None:
    cut = CELLS.decode((1, 1, 1, 0, 0, 0))  # nothing reaches the output
    dangling = CELLS.decode((1, 0, 1, 0, 1, 0))
    held = LimitsOfRun(CELLS, [], None, np.random.default_rng(0))
    assert (held.allows(cut), held.holds(cut)) == (False, False)
    assert held.allows(dangling)
    assert is_connected(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    assert not is_connected(np.array([[0, 0, 0], [0, 0, 1], [0, 0, 0]]))


def test_a_cost_is_predicted_by_counts_of_operations() -> None:
    """Standardised, the counts are -1 and 1, and the ridge gives 2 / 2.1 of the slope."""
    intercept, weights = fit([{"a": 0}, {"a": 2}], [1.0, 3.0])
    assert weights["a"] == pytest.approx(1 / 1.05)
    assert intercept == pytest.approx(2 - 1 / 1.05)


def test_what_is_costly_is_measured_for_few_and_bought_for_the_result() -> None:
    held = limits(31.5, few=8)
    (measure,) = (limit.measure for limit in held.limits)
    assert held.num_measurements == len(measure.asked) >= 8
    before = held.num_measurements
    for genotype in TOY.enumerate():
        held.allows(genotype)
    assert held.num_measurements == before
    wrongly = next(one for one in TOY.enumerate()
                   if held.allows(one) and 10 * sum(genes(one)) + genes(one)[1] > 31.5)  # fmt: skip
    assert not held.holds(wrongly)
    assert not held.allows(wrongly)  # it is known from now on
    assert held.num_measurements == before + 1
    again = limits(31.5, few=8)
    again.load_state_dict(held.state_dict())
    assert again.num_measurements == held.num_measurements
    assert [again.allows(one) for one in TOY.enumerate()] == [
        held.allows(one) for one in TOY.enumerate()
    ]


class Errors:
    """An evaluator for which the third gene is all that counts; its cost is the sum of genes."""

    at_once = 64
    labels_are_scores = False
    objectives = (Objective("val_error", "fraction"), SumOfGenes.objective)

    def evaluate(self, genotypes):
        cost = SumOfGenes()
        return [Evaluation(one, ((3 - genes(one)[2]) / 4, cost.measure(one)), 0.0)
                for one in genotypes]  # fmt: skip

    def state_dict(self):
        return {}


def test_labels_beyond_the_limit_are_no_result_and_not_on_the_front() -> None:
    held = limits(31.0, is_quick=False)
    labels = Labels(Errors(), TOY, 64, held)  # type: ignore[arg-type]
    labels.evaluate([TOY.decode(one) for one in ((1, 0, 3), (0, 1, 2), (0, 0, 2), (3, 3, 3),
                                                 (0, 0, 1), (2, 0, 1))])  # fmt: skip
    assert genes(labels.best().genotype) == (0, 0, 2)  # (0, 1, 2) has the same error, and costs 31
    assert [genes(one.genotype) for one in labels.front()] == [(0, 0, 2), (0, 0, 1)]
    assert labels.report().metrics["measurements"] == held.num_measurements

    others = Labels(Errors(), TOY, 64, limits(9.0))  # type: ignore[arg-type]
    others.evaluate([TOY.decode((3, 3, 3))])
    assert others.report().incumbent is None
    with pytest.raises(RunError, match="none of 1 evaluated architectures is within the limits"):
        others.best()


def test_the_hypervolume_is_a_share_of_the_box_up_to_the_limit() -> None:
    """(.25, 10) and (.5, 5) of 20: .75 * .5 + .5 * .75 - .5 * .5 = .5."""
    front = [FrontMember(genotype=TOY.decode((0, 0, 0)), values={"val_error": error, "cost": cost})
             for error, cost in ((0.25, 10.0), (0.5, 5.0))]  # fmt: skip
    labels: Any = SimpleNamespace(
        objectives=Errors.objectives,
        ledger=[Evaluation(TOY.decode((0, 0, 0)), (0.5, 40.0), 0.0)],
    )
    measure = SumOfGenes()
    limit = Limit("constraint.objective", measure, 20.0)
    pytest.importorskip("moocore")
    found = hypervolume_of(front, labels, measure, [limit])
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.reference == {"val_error": 1.0, "cost": 20.0}
    unlimited = hypervolume_of(front, labels, measure, [])
    assert unlimited is not None
    assert unlimited.reference["cost"] == 40.0  # the largest label


def test_earlier_runs_go_on_since_keys_that_came_later_decide_nothing_unused() -> None:
    plain = decisive(to_typed(composed(), SearchConfig))
    assert not [key for key in plain if key.startswith(("constraint", "objective"))]
    words = ["objective=params", "constraint.params_m=1"]
    limited = decisive(to_typed(composed(words), SearchConfig))
    assert limited.keys() - plain.keys() == {
        "constraint.params_m", "objective._target_", "objective._partial_",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["constraint.params_m=0.001"],
         "constraint.params_m=0.001 leaves no architecture of space=nasbench201: the lowest of all "
         "is 18,594 parameters (params); raise a limit, or choose smaller networks"),
        (["constraint.objective=3"],
         "constraint.objective=3 limits an objective, and there is none: type objective=table, "
         "latency, memory, params or flops too"),
        (["constraint.params_m=1", "constraint.measurements=5"],
         "constraint.measurements=5 is of what is measured on a device, and nothing such is "
         "limited: type constraint.latency_ms too, or leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_told_before_the_search(words: list[str], sentence: str) -> None:
    """Stem 88, two residual blocks 3,648 and 14,464, last norm 64, classifier 330; no cell."""
    base = ["strategy=random", "space=nasbench201", "dataset=digits", "retrain=none", "device=cpu"]
    wiring = Wiring(to_typed(composed([*base, *words]), SearchConfig))
    with pytest.raises(UsageError) as caught:
        wiring.strategy  # noqa: B018 - built now
    assert str(caught.value) == sentence


def test_wrong_values_are_told_by_their_keys() -> None:
    config = composed(["objective=table", "constraint.latency_ms=-3", "constraint.measurements=1"])
    assert list(all_faults(to_typed(config, SearchConfig))) == [
        "constraint.latency_ms=-3.0 must be above 0",
        "constraint.measurements=1 must be at least 2",
        "objective.column=null must be a column of the table, such as latency_ms_raspi4",
    ]
    words = ["strategy=nsganet", "objective=params", "strategy.second_objective=flops"]
    (sentence,) = unread_overrides(composed(words), words)
    assert sentence.startswith("strategy.second_objective=flops: the run's objective takes its")


class ByGenes(Evaluator):
    """A made table of the toy space: an accuracy of (b + c) / 10, whatever the first gene is."""

    optimum = 0.6

    def best_within(self, holds) -> float | None:
        rows = sorted(TOY.enumerate(), key=lambda one: -sum(genes(one)[1:]))
        return next((sum(genes(one)[1:]) / 10 for one in rows if holds(one)), None)

    def final(self, genotype) -> Final:
        accuracy = sum(genes(genotype)[1:]) / 10
        entry = TableEntry(file="made", signal="accuracy", regret=self.optimum - accuracy,
                           percentile=50.0, val_accuracy=accuracy, test_accuracy=accuracy,
                           datasets={}, control=None)  # fmt: skip
        return Final(table=entry)


def test_regret_is_to_the_best_within_the_limits() -> None:
    """10 a + 11 b + 10 c <= 31 leaves (0, 0, 3) as the best, .3 (0, 1, 2 costs 31 as well)."""
    wiring = Wiring(to_typed(composed(["space=toy", "strategy=random", "retrain=none"]),
                             SearchConfig))  # fmt: skip
    vars(wiring)["raw_evaluator"] = ByGenes()

    def regret_of(found: tuple[int, ...], held: LimitsOfRun) -> tuple[float, bool | None]:
        vars(wiring)["limits"] = held
        vars(wiring).pop("best_within_limits", None)
        entry = wiring.final(TOY.decode(found)).table
        assert entry is not None
        return entry.regret, entry.within_limits

    assert regret_of((1, 0, 2), limits(31.0)) == (pytest.approx(0.1), True)
    assert regret_of((0, 1, 2), limits(31.0)) == (0.0, True)
    held = limits(31.0, few=8)  # others are predicted in the search, and known to the yardstick
    before = held.num_measurements
    assert regret_of((1, 0, 2), held) == (pytest.approx(0.1), True)
    assert held.num_measurements == before
    # a stopwatch is asked about few: the regret is to the best of all
    assert regret_of((1, 0, 2), limits(31.0, is_quick=False)) == (pytest.approx(0.4), None)

    insight = Insight(SimpleNamespace(labels=None, predicts=False), ByGenes(), 0.3)  # type: ignore[arg-type]
    report = StepReport({"best_val_accuracy": 0.1})
    assert insight.metrics(report, last=False) == {"regret": pytest.approx(0.2)}


@needs_data
def test_the_summary_says_what_the_regret_is_to(tmp_path: Path, monkeypatch, capsys) -> None:
    """By the arrays of the two tables."""
    without_pictures(monkeypatch)
    column, limit = "latency_ms_pixel2", 14.4
    main(["search", "strategy=random", "space=nasbench201", "evaluator=table", "dataset=cifar100",
          "budget.evaluations=5", "objective=table", f"objective.column={column}",
          f"constraint.latency_ms={limit}", f"hydra.run.dir={tmp_path}"])  # fmt: skip
    assert "to the best cell of the table within the limits" in capsys.readouterr().out
    found = json.loads((tmp_path / "result.json").read_text())["table"]
    within_R = store.load_costs("nasbench201", column).costs[column] <= limit
    val_R = store.load("nasbench201", dataset="cifar100").columns("cifar100").validation_R
    assert found["regret"] == pytest.approx(val_R[within_R].max() - found["val_accuracy"])
    assert found["within_limits"] is True
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[4])["regret"] == pytest.approx(found["regret"])


@needs_data
@pytest.mark.parametrize(
    ("device", "limit_ms", "best"),
    [("gold_6226", 8.0, 69.33), ("gold_6226", 10.7, 71.50), ("gold_6226", 14.3, 72.99),
     ("pixel2", 14.4, 71.52), ("pixel2", 22.2, 73.04), ("pixel2", 34.0, 73.51)],
)  # fmt: skip
def test_the_best_within_a_latency_is_known_exactly(device: str, limit_ms: float, best) -> None:
    column = f"latency_ms_{device}"
    within_R = store.load_costs("nasbench201", column).costs[column] <= limit_ms
    test_R = store.load("nasbench201", dataset="cifar100").columns("cifar100").test_R
    assert round(100 * float(test_R[within_R].max()), 2) == best


@needs_data
def test_a_column_that_is_not_there_is_told_with_its_likes() -> None:
    with pytest.raises(UsageError, match=r"objective.column=latency_ms_pixel is not in .*pixel2"):
        store.load_costs("nasbench201", "latency_ms_pixel")
    with pytest.raises(UsageError, match="type space=nasbench201, or objective=latency"):
        store.load_costs("darts", "latency_ms_pixel2")


@needs_data
@pytest.mark.parametrize("number", [2, 9, 113])
def test_random_searches_break_no_limit(number: int) -> None:
    """Three of the thousand of `tests.long.limits`: on alphas and predicted, refused, by a list."""
    _, search, wrong = long.trial(number)
    assert wrong == [], search


def test_few_measurements_know_what_was_measured() -> None:
    known = FewMeasurements(SumOfGenes(), TOY)
    for genotype in list(TOY.enumerate())[:5]:
        known.measured(genotype)
        known.measured(genotype)
    assert known.num_measurements == 5
    assert known.estimate(TOY.decode((0, 0, 3))) == 30.0

"""Where first labels go, the climb that needs no chance, and neighbours among a round's labels."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.untrained import UntrainedNetworks
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.predictors.zero_cost.table import ScoresOfTable
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator
from nasrun.protocols.knowledge import FreeScores, mean_ranks
from nasrun.protocols.labels import Labels
from nasrun.randomness import RandomStreams
from nasrun.spaces.toy import Toy
from nasrun.strategies.evolution.climb_from_largest import ClimbFromLargest
from nasrun.strategies.evolution.random import RandomSearch
from nasrun.strategies.first_labels import FirstLabels
from tests.compose import composed

SPACE = Toy()
DATA = Path(os.environ.get("NASRUN_DATA", "nowhere"))
needs_table = pytest.mark.skipif(
    not (DATA / "nasbench201.npz").is_file(), reason="NASRUN_DATA has no nasbench201.npz"
)
needs_scores = pytest.mark.skipif(
    not (DATA / "nasbench201_zero_cost.npz").is_file(),
    reason="NASRUN_DATA has no nasbench201_zero_cost.npz",
)


class Size(FreeScores):
    """The sum of the genes: ddd is the largest of the 64 chains, with 9."""

    names, how, num_affordable = ("sum",), "made", 64

    def values(self, genotypes):
        return np.array([[sum(SPACE.encode(one))] for one in genotypes], dtype=float)


class Valley(Evaluator):
    """Errors of a few chains; all others have .9."""

    objectives = (VALIDATION_ERROR,)
    ERRORS = {"ddd": 0.5, "cdd": 0.4, "ddc": 0.45, "bdd": 0.4, "cdc": 0.6}  # noqa: RUF012

    def evaluate(self, genotypes):
        names = [SPACE.canonical(one) for one in genotypes]
        pairs = zip(genotypes, names, strict=True)
        return [Evaluation(one, (self.ERRORS.get(name, 0.9),), 0.0) for one, name in pairs]


def context(seed: int = 0, size: FreeScores | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        space=SPACE,
        allowed_space=SPACE,
        streams=RandomStreams(seed),
        evaluator=Labels(Valley(), SPACE, budget=1000),
        free_scores=lambda kind: size or Size(),
    )


def bought(search) -> list[str]:
    return [SPACE.canonical(label.genotype) for label in search.labels.ledger]


def test_ranks_by_hand() -> None:
    # 1, 3, 2 have the ranks 0, 1, 1/2; of 5, 5, 7 the equal ones share (0 + 1) / 2 / 2
    values_NF = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 7.0]])
    assert mean_ranks(values_NF).tolist() == [0.125, 0.625, 0.75]
    assert mean_ranks(np.array([[-np.inf], [np.nan], [0.0]])).tolist() == [0.25, 0.25, 1.0]


def test_the_climb_by_hand() -> None:
    """From ddd (.5) to the first of two with .4, cdd; its neighbours are no better, so that bdd,
    the next best label, is climbed from, and then ddc (.45): all without chance."""
    search = ClimbFromLargest(context(), num_labels=25, initial="largest")
    search.step()
    assert bought(search) == ["ddd"]
    search.step()  # the genes in their order, each with its other values
    near_ddd = ["add", "bdd", "cdd", "dad", "dbd", "dcd", "dda", "ddb", "ddc"]
    assert bought(search) == ["ddd", *near_ddd]
    search.step()  # bdd and cdd are equal, and bdd was bought first
    near_bdd = ["bad", "bbd", "bcd", "bda", "bdb", "bdc"]
    assert bought(search)[10:] == near_bdd
    search.step()
    assert bought(search)[16:] == ["cad", "cbd", "ccd", "cda", "cdb", "cdc"]
    search.step()  # ddc: 9 neighbours, of which ddd, dda, ddb, bdc and cdc are known
    assert bought(search)[22:] == ["adc", "dac", "dbc"]  # the budget denies dcc
    assert search.finished
    assert SPACE.canonical(search.best()[0]) == "bdd"


def test_the_climb_ends_when_everything_has_a_label() -> None:
    search = ClimbFromLargest(context(), num_labels=1000, initial="largest")
    while not search.finished:
        search.step()
    assert len(search.labels) == 64


def test_first_labels_are_drawn_from_the_most_promising_tenth() -> None:
    """At least twice as many as labels: 8 of 64. The sums of ddd and its neighbours downwards are
    9, 8 (three chains) and 7 (six), of which four are drawn by the seed."""
    found = {}
    for seed in range(3):
        search = RandomSearch(context(seed), num_labels=4, initial="largest")
        while not search.finished:
            search.step()
        assert search.knowledge == ("size",)
        sums = [sum(SPACE.encode(label.genotype)) for label in search.labels.ledger]
        assert len(sums) == 4
        assert min(sums) >= 7
        found[seed] = tuple(bought(search))
    assert len(set(found.values())) == 3
    assert RandomSearch(context(), num_labels=4, initial="random").knowledge == ()


def test_of_a_large_space_a_sample_is_scored_that_depends_on_no_seed() -> None:
    class Few(Size):
        num_affordable = 20

    best = {SPACE.canonical(FirstLabels(context(s, Few()), "largest", 2).best()) for s in range(3)}
    assert len(best) == 1


@needs_table
@pytest.mark.parametrize(
    ("dataset", "num_labels", "test"),
    [("cifar10", 25, 94.363), ("cifar10", 45, 94.373), ("cifar100", 25, 73.513),
     ("cifar100", 45, 73.513)],
)  # fmt: skip
def test_what_the_climb_finds_on_nasbench201(dataset: str, num_labels: int, test: float) -> None:
    wiring = on_table("climb_from_largest", dataset, num_labels)
    search = wiring.strategy
    while not search.finished:
        search.step()
    assert len(search.labels) == num_labels
    found = wiring.final(search.best()[0]).table
    assert 100 * found.test_accuracy == pytest.approx(test, abs=5e-4)


@needs_scores
@needs_table
def test_the_scores_of_a_table_rank_cells_as_they_are_said_to() -> None:
    """Kendall's tau with the CIFAR-10 test accuracy; .63 and .60 were measured elsewhere."""
    from scipy.stats import kendalltau

    wiring = on_table("random", "cifar10", 10)
    scores = ScoresOfTable(UntrainedNetworks(wiring))
    genotypes = list(wiring.space.enumerate())
    values_NF = scores.values(genotypes)
    table = wiring.raw_evaluator
    accuracy_N = table.columns.test_R[[table.row(one) for one in genotypes]]
    taus = [kendalltau(value_N, accuracy_N).statistic for value_N in values_NF.T]
    assert dict(zip(scores.names, taus, strict=True)) == pytest.approx(
        {"logsynflow": 0.630, "naswot": 0.608}, abs=0.001
    )


def test_scores_of_another_space_are_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"space=toy .*not known.*type proxy=logsynflow"):
        ScoresOfTable(SimpleNamespace(space=SPACE, dataset_name="digits"))


def on_table(strategy: str, dataset: str, num_labels: int) -> Wiring:
    overrides = [f"strategy={strategy}", "space=nasbench201", f"dataset={dataset}"]
    overrides += ["evaluator=table", f"budget.evaluations={num_labels}"]
    return Wiring(to_typed(composed(overrides), SearchConfig))

"""What predictors may read beside a graph: percentiles of figures that cost no label."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.graphs.one_edit_pairs import OneEditPairs
from nasrun.protocols.knowledge import FreeScores
from nasrun.spaces.toy import Toy
from nasrun.strategies.guided.free_figures import FreeFigures, kinds, percentiles
from tests.compose import composed, node

SPACE = Toy()
CHAINS = list(SPACE.enumerate())
SUMS = np.array([sum(SPACE.encode(one)) for one in CHAINS])  # 0 to 9, for 64 chains of a to d
DATA = Path(os.environ.get("NASRUN_DATA", "nowhere"))


class Sum(FreeScores):
    names, how, num_affordable = ("sum",), "made", 64

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing

    def values(self, genotypes):
        sums = [float(sum(SPACE.encode(one))) for one in genotypes]
        return np.array([[np.nan if one == self.failing else one] for one in sums])


def figures(source: FreeScores) -> FreeFigures:
    return FreeFigures(
        SimpleNamespace(allowed_space=SPACE, free_scores=lambda kind: source), "code+size"
    )


def test_percentiles_by_hand() -> None:
    compared_P = np.array([4.0, 1.0, 2.0, 2.0])
    # below 2: one of four; 2 itself is there twice and counts half: (1 + 2 / 2) / 4
    assert percentiles(np.array([0.0, 1.0, 2.0, 9.0]), compared_P).tolist() == [0, 0.125, 0.5, 1]


def test_figures_have_mean_0_and_a_deviation_near_1_over_the_space() -> None:
    figures_NF = figures(Sum()).of(CHAINS)
    assert figures_NF.shape == (64, 1)
    assert figures_NF.mean() == pytest.approx(0.0, abs=1e-12)
    assert 0.9 < figures_NF.std() <= 1.0  # equal ones share a percentile
    order = np.argsort(SUMS, kind="stable")
    assert (np.diff(figures_NF[order, 0]) >= 0).all()


def test_what_is_not_finite_is_the_least() -> None:
    figures_NF = figures(Sum(failing=9)).of(CHAINS)  # only ddd has the sum 9
    assert figures_NF[SUMS == 9, 0] == figures_NF.min()
    assert np.isfinite(figures_NF).all()


def test_the_words_of_the_key() -> None:
    assert kinds("code") == ()
    assert kinds("code+zero_cost") == ("zero_cost",)
    assert kinds("code+size+zero_cost") == ("size", "zero_cost")


@pytest.mark.parametrize("name", ["ridge", "gaussian_process", "path_mlp", "dcl"])
def test_a_predictor_reads_them(name: str) -> None:
    """Graphs of two kinds whose values depend on the figure alone: without it there is no order."""
    small = {"contrast_steps": 0} if name == "dcl" else {}
    predictor = plugins.build(node("predictor", name, **small), torch.Generator().manual_seed(0))
    predictor.pretrain(OneEditPairs(SPACE), lambda done, total, **figures: None)
    rng = np.random.default_rng(0)
    values_N = rng.permutation(40) / 40.0
    graphs = [SPACE.graph(CHAINS[i % 2]) for i in range(40)]
    known = [
        replace(graph, figures=(float(3 * value - 1.5),))
        for graph, value in zip(graphs, values_N, strict=True)
    ]
    predictor.fit(known[:30], values_N[:30])
    score_N = predictor.score(known[30:]).score_N
    assert np.corrcoef(score_N, values_N[30:])[0, 1] > 0.9
    predictor.fit(graphs[:30], values_N[:30])  # a later fit may know less
    assert len(set(np.round(predictor.score(graphs[30:]).score_N, 5))) == 2


needs_scores = pytest.mark.skipif(
    not (DATA / "nasbench201_zero_cost.npz").is_file(),
    reason="NASRUN_DATA has no nasbench201_zero_cost.npz",
)


def wired(*words: str) -> Wiring:
    """A search on the table that reads scores; the words come last."""
    always = ["strategy=ridge_evolution", "evaluator=table", "dataset=cifar10"]
    always += ["budget.evaluations=15", "predictor.features=code+zero_cost"]
    return Wiring(to_typed(composed([*always, *words]), SearchConfig))


@needs_scores
def test_a_search_says_what_it_knew_and_goes_on_with_it() -> None:
    first, second = wired("strategy.initial=largest"), wired("strategy.initial=largest")
    search, twin = first.strategy, second.strategy
    assert search.knowledge == ("size", "zero_cost")
    for _ in range(3):
        search.step()
    twin.load_state_dict(search.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    bought = [[one.genotype for one in each.step().evaluations] for each in (search, twin)]
    assert bought[0] == bought[1]
    assert len(bought[0]) > 0


@needs_scores
@pytest.mark.parametrize(("proxy", "looked_at"), [("table", True), ("params", False)])
def test_nobody_who_looks_on_waits_for_scores_that_take_time(proxy: str, looked_at: bool) -> None:
    """A search scores what it proposes; the 15,625 cells of the table would take hours by snip."""
    search = wired(
        f"proxy={proxy}", "proxy.num_architectures=30" if not looked_at else "seed=0"
    ).strategy
    for _ in range(3):
        search.step()
    cells = [search.space.sample(np.random.default_rng(0)) for _ in range(3)]
    ranked = search.rank(cells, [search.space.graph(one) for one in cells])
    assert (ranked is not None) is looked_at

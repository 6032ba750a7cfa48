"""PC-DARTS, beta-DARTS and DARTS-: their own rules, against numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.genotypes.darts import EDGES
from nasrun.strategies.gradient.pcdarts import PCDARTS, edge_normalisation
from tests.compose import composed

MADE = ("dataset=synthetic", "dataset.num_train=64", "budget=smoke")


def wired(*overrides: str) -> Wiring:
    return Wiring(to_typed(composed([*MADE, *overrides]), SearchConfig))


def test_pcdarts_normalises_the_edges_into_each_node() -> None:
    """Two edges enter node 2, with beta log 3 and 0; one edge enters node 1."""
    edges = ((0, 2), (0, 1), (1, 2))
    gates_E = edge_normalisation(torch.tensor([math.log(3), 5.0, 0.0]), edges)
    torch.testing.assert_close(gates_E, torch.tensor([0.75, 1.0, 0.25]))


def test_pcdarts_decodes_by_products_of_alpha_and_beta() -> None:
    """By alpha alone node 3 would read the states 0 and 1. Its edges' weights are here .6, .5 and
    .4, and the gates 1/4, 1/4 and 1/2: products of .15, .125 and .2."""
    strategy = wired("strategy=pcdarts", "space=darts", "space.channels=4", "space.cells=1").strategy
    assert isinstance(strategy, PCDARTS)
    sources = [source for source, target in EDGES if target == 3]
    first = EDGES.index((0, 3))
    with torch.no_grad():
        for edge, weight, gate in zip(range(first, first + 3), (0.6, 0.5, 0.4), (1, 1, 2)):
            other = (1 - weight) / 6
            strategy.alpha["normal"][edge] = math.log(other)
            strategy.alpha["normal"][edge, 3] = math.log(weight)
            strategy.beta["normal"][edge] = math.log(gate)
    cell = strategy.best()[0].cell("normal")
    assert sources == [0, 1, 2]
    assert {(e.source, e.operation) for e in cell.edges_into(3)} == {
        (0, "sep_conv_3x3"),
        (2, "sep_conv_3x3"),
    }


def test_pcdarts_leaves_alpha_and_beta_alone_while_it_warms_up() -> None:
    words = ("space=nasbench201", "space.channels=4", "dataset.batch_size=16")
    strategy = wired("strategy=pcdarts", *words, "budget.epochs=2", "strategy.warmup=0.5").strategy
    before = {"alpha": strategy.alpha["cell"].clone(), "beta": strategy.beta["cell"].clone()}
    assert "weights_step" not in strategy.step().metrics
    assert torch.equal(strategy.alpha["cell"], before["alpha"])
    assert torch.equal(strategy.beta["cell"], before["beta"])
    assert strategy.step().metrics["weights_step"] > 0
    assert not torch.equal(strategy.beta["cell"], before["beta"])


def test_pcdarts_refuses_channels_that_it_cannot_divide() -> None:
    words = ("strategy=pcdarts", "space=nasbench201", "strategy.partial_channels=3")
    with pytest.raises(UsageError, match=r"partial_channels=3 .* a divisor of space.channels=8"):
        assert wired(*words).strategy

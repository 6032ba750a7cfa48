"""DSNAS: its score function and its fixed edges, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.networks.toy import GAINS_EO
from nasrun.strategies.gradient.dsnas import DSNAS, score_function
from tests.compose import composed

MADE = ("strategy=dsnas", "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke")


@pytest.fixture
def strategy() -> DSNAS:
    made = Wiring(to_typed(composed([*MADE, "strategy.alpha_learning_rate=0.1"]), SearchConfig))
    assert isinstance(made.strategy, DSNAS)
    return made.strategy


def test_gradient_is_the_cost_of_the_drawn_operation_times_that_of_its_log_probability() -> None:
    """p = (3/4, 1/4), and dL/dZ = 2 where the first is drawn, 10 where the second is: by alpha
    2 * (1 - 3/4, -1/4) or 10 * (-3/4, 1 - 1/4)."""
    generator, expected, counts = (
        torch.Generator().manual_seed(0),
        [(0.5, -0.5), (-7.5, 7.5)],
        [0, 0],
    )
    for _ in range(400):
        alpha_EO = torch.tensor([[math.log(3), 0.0]]).requires_grad_()
        z_EO = score_function(alpha_EO, generator)
        drawn = int(z_EO.detach().argmax())
        assert z_EO.tolist() == [[1.0 - drawn, float(drawn)]]
        (z_EO * torch.tensor([[2.0, 10.0]]) * z_EO.detach()).sum().backward()
        assert alpha_EO.grad is not None
        assert alpha_EO.grad[0].tolist() == pytest.approx(expected[drawn], abs=1e-5)
        counts[drawn] += 1
    assert counts[0] / 400 == pytest.approx(0.75, abs=0.066)  # three standard errors


def test_only_what_is_drawn_is_computed(strategy: DSNAS) -> None:
    weights, _, active = strategy.mixture()
    assert active is not None
    assert active["cell"].sum(dim=1).tolist() == [1, 1, 1]
    assert torch.equal(weights["cell"].detach(), active["cell"].float())


def test_a_sure_edge_is_fixed_and_its_alpha_stays(strategy: DSNAS) -> None:
    """Probabilities (e, 1, 1, 1) / (e + 3): a gap of 1.718 / 5.718 = 0.3005, just enough; the
    second edge has 0.29."""
    with torch.no_grad():
        strategy.alpha["cell"].zero_()
        strategy.alpha["cell"][0, 2] = 1.0
        strategy.alpha["cell"][1, 2] = 0.97
    before_EO = strategy.alpha["cell"].detach().clone()
    figures = strategy.step().metrics
    assert figures["num_fixed_edges"] == 1
    assert torch.equal(strategy.alpha["cell"][0], before_EO[0])
    assert not torch.equal(strategy.alpha["cell"][1], before_EO[1])
    drawn_E = {int(strategy.mixture().weights["cell"][0].detach().argmax()) for _ in range(50)}
    assert drawn_E == {2}


def test_it_finds_the_optimum_where_the_loss_is_linear_in_the_gains(strategy: DSNAS) -> None:
    """With dL/dZ = -gain. On the toy problem itself the slope of a drawn operation falls with its
    gain, since the loss is then all but 0, and small gains are pushed most."""
    for _ in range(150):
        drawn = strategy.mixture()
        assert drawn.active is not None
        slope_EO = -torch.tensor(GAINS_EO) * drawn.active["cell"]
        strategy.move_alpha({"cell": slope_EO}, drawn)
    assert strategy.space.canonical(strategy.best()[0]) == "dba"

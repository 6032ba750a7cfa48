"""DrNAS: the gradient through a Dirichlet sample, its mean and its divergence, by closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import betainc
from scipy.stats import beta

from nasrun.protocols.scorer import Gradient
from nasrun.strategies.gradient.drnas import DrNAS, concentration
from tests.numbers.test_darts import wired

ALPHA_EO = torch.tensor([[0.0, 1.0, -0.5, 0.3], [-2.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.5, -0.2]])


def drnas(*overrides: str) -> DrNAS:
    strategy = wired("space=toy", "strategy=drnas", *overrides).strategy
    assert isinstance(strategy, DrNAS)
    strategy.alpha["cell"].data.copy_(ALPHA_EO)
    return strategy


def test_concentration_is_elu_plus_one_and_never_zero() -> None:
    alpha_EO = torch.tensor([[-30.0, -1.0, 0.0, 2.0]])
    expected_EO = [[math.exp(-30), math.exp(-1), 1.0, 3.0]]
    torch.testing.assert_close(concentration(alpha_EO), torch.tensor(expected_EO))


def test_gradient_through_a_sample_is_the_implicit_one() -> None:
    """Of Dirichlet(c) the weight w_o is Beta(c_o, rest) distributed with F(w_o; c_o) held, so that

        dw_o / dc_o = -(dF / dc_o) / f(w_o),    dw_p / dc_o = -w_p / (1 - w_o) dw_o / dc_o,

    and dc / dalpha is 1 above 0 and exp(alpha) below.
    """
    strategy = drnas()
    mixture = strategy.mixture()
    weights_EO = mixture.weights["cell"].detach().double()
    g_EO = torch.tensor([[0.3, -1.0, 2.0, 0.5]]).repeat(3, 1)
    strategy.follow(Gradient(1.0, 0.5, {"cell": g_EO}), mixture)
    found_EO = strategy.alpha["cell"].grad
    assert found_EO is not None
    c_EO = concentration(ALPHA_EO).double()
    for edge, (w_O, c_O, g_O) in enumerate(zip(weights_EO, c_EO, g_EO.double(), strict=True)):
        for place, (w, c) in enumerate(zip(w_O.tolist(), c_O.tolist(), strict=True)):
            rest = float(c_O.sum()) - c
            by_c = (betainc(c + 1e-5, rest, w) - betainc(c - 1e-5, rest, w)) / 2e-5
            moved = -by_c / beta.pdf(w, c, rest)
            moved_O = -w_O / (1 - w) * moved
            moved_O[place] = moved
            slope = float((g_O * moved_O).sum()) * min(1.0, math.exp(ALPHA_EO[edge, place]))
            assert float(found_EO[edge, place]) == pytest.approx(slope, rel=5e-3, abs=1e-4)


def test_samples_differ_and_their_mean_is_what_the_cell_is_derived_from() -> None:
    strategy = drnas()
    with torch.no_grad():
        drawn_NEO = torch.stack([strategy.mixture().weights["cell"] for _ in range(500)])
    assert not torch.equal(drawn_NEO[0], drawn_NEO[1])
    torch.testing.assert_close(drawn_NEO.sum(2), torch.ones(500, 3))
    c_EO = concentration(ALPHA_EO)
    mean_EO = c_EO / c_EO.sum(1, keepdim=True)
    torch.testing.assert_close(strategy.mixing_weights()["cell"], mean_EO)
    # the variance of a weight is mean (1 - mean) / (sum of c + 1)
    error_EO = (mean_EO * (1 - mean_EO) / (c_EO.sum(1, keepdim=True) + 1) / 500).sqrt()
    assert ((drawn_NEO.mean(0) - mean_EO).abs() < 4 * error_EO).all()


def test_divergence_from_the_flat_distribution_by_hand() -> None:
    """KL(Dir(3, 1, 1, 1) || Dir(1, 1, 1, 1)) is the mean of log(f / g) = log(10 w^2).

    The densities are f = 5! / 2! w^2 and g = 3!, and the mean of log w is psi(3) - psi(6), which is
    -(1/3 + 1/4 + 1/5) = -47/60.
    """
    strategy = drnas("strategy.kl_scale=0.5")
    strategy.alpha["cell"].data.copy_(torch.tensor([[2.0, 0, 0, 0], [0.0] * 4, [0.0] * 4]))
    penalty = strategy.penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * (math.log(10) - 2 * 47 / 60), rel=1e-5)
    assert drnas().penalty() is None


def test_it_finds_the_optimum_of_the_toy_space() -> None:
    words = ("space=toy", "strategy=drnas", "budget.epochs=12", "strategy.alpha_learning_rate=0.1")
    wiring = wired(*words, "dataset.num_train=256", "dataset.batch_size=16")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"

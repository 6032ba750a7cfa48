"""DrNAS: the gradient through a single Dirichlet draw, by scipy's distribution function."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import betainc
from scipy.stats import beta

from nasrun.strategies.gradient.drnas import drawn, positive

ALPHA_EO = torch.tensor([[0.0, 1.0, -0.5, 0.3], [2.0, -1.0, 0.5, -0.2]])
EVERY = torch.ones_like(ALPHA_EO, dtype=torch.bool)


def test_concentrations_are_elu_plus_one_and_never_zero() -> None:
    alpha_O = torch.tensor([-30.0, -1.0, 0.0, 2.0])
    expected_O = torch.tensor([math.exp(-30), math.exp(-1), 1.0, 3.0])
    torch.testing.assert_close(positive(alpha_O), expected_O, rtol=1e-6, atol=0)
    assert drawn(alpha_O[None], torch.ones(1, 4, dtype=torch.bool)).isfinite().all()


def test_gradient_through_a_draw_is_the_implicit_one() -> None:
    """Of Dirichlet(c) a weight w_o is Beta(c_o, rest) distributed, and F(w_o; c_o) is held, so that

        dw_o / dc_o = -(dF / dc_o) / f(w_o),    dw_p / dc_o = -w_p / (1 - w_o) dw_o / dc_o,

    and dc / dalpha is 1 from 0 on and exp(alpha) below.
    """
    torch.manual_seed(0)
    alpha_EO = ALPHA_EO.clone().requires_grad_()
    weights_EO = drawn(alpha_EO, EVERY)
    price_O = torch.tensor([0.3, -1.0, 2.0, 0.5])
    (found_EO,) = torch.autograd.grad((weights_EO * price_O).sum(), alpha_EO)
    for edge, w_O in enumerate(weights_EO.detach().double()):
        c_O = torch.nn.functional.elu(ALPHA_EO[edge].double()) + 1
        for place, (w, c) in enumerate(zip(w_O.tolist(), c_O.tolist(), strict=True)):
            rest = float(c_O.sum()) - c
            by_c = (betainc(c + 1e-5, rest, w) - betainc(c - 1e-5, rest, w)) / 2e-5
            own = -by_c / beta.pdf(w, c, rest)
            moved_O = -w_O / (1 - w) * own
            moved_O[place] = own
            slope = float((price_O * moved_O).sum()) * min(1.0, math.exp(ALPHA_EO[edge, place]))
            assert float(found_EO[edge, place]) == pytest.approx(slope, rel=5e-3, abs=1e-4)

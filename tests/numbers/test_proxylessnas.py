"""ProxylessNAS: one operation is trained, two compete, and the others keep their probability."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.proxylessnas import ProxylessNAS
from tests.numbers.test_darts import wired

ALPHA_EO = torch.tensor([[0.0, 1.0, -0.5, 0.3], [-2.0, 0.0, 0.1, 0.2], [2.0, -1.0, 0.5, -0.2]])
WORDS = ("space=toy", "strategy=proxylessnas", "strategy.warmup=0")


@pytest.fixture
def strategy() -> ProxylessNAS:
    strategy = wired(*WORDS).strategy
    assert isinstance(strategy, ProxylessNAS)
    strategy.alpha["cell"].data.copy_(ALPHA_EO)
    return strategy


def one_step(strategy: ProxylessNAS, monkeypatch: Any) -> tuple[Mixture, Tensor]:
    """Make a step of alpha; return what was scored, and the gradient by its gates."""
    seen = list[tuple[Mixture, Tensor]]()
    gradient = strategy.scorer.gradient

    def spied(mixture: Mixture, batch: Any) -> Gradient:
        found = gradient(mixture, batch)
        seen.append((mixture, found.of_weights["cell"]))
        return found

    monkeypatch.setattr(strategy.scorer, "gradient", spied)
    strategy.move_alpha()
    ((mixture, slope_EO),) = seen
    return mixture, slope_EO


def test_one_gate_of_two_operations_is_open(strategy: ProxylessNAS, monkeypatch: Any) -> None:
    mixture, slope_EO = one_step(strategy, monkeypatch)
    assert mixture.active is not None
    weights_EO, active_EO = mixture.weights["cell"], mixture.active["cell"]
    assert active_EO.sum(1).tolist() == [2, 2, 2]
    assert weights_EO.sum(1).tolist() == weights_EO.max(1).values.tolist() == [1, 1, 1]
    assert active_EO[weights_EO > 0].all()
    assert not slope_EO[~active_EO].any()


def test_step_of_alpha_is_that_of_equation_4(strategy: ProxylessNAS, monkeypatch: Any) -> None:
    """Written out for two operations i and j: dL/dalpha_i = q_i q_j (g_i - g_j) = -dL/dalpha_j."""
    mixture, slope_EO = one_step(strategy, monkeypatch)
    assert mixture.active is not None
    found_EO = strategy.alpha["cell"].grad
    assert found_EO is not None
    for edge in range(3):
        i, j = mixture.active["cell"][edge].nonzero().flatten().tolist()
        q_i = float(torch.sigmoid(ALPHA_EO[edge, i] - ALPHA_EO[edge, j]))
        expected_O = torch.zeros(4)
        expected_O[i] = q_i * (1 - q_i) * float(slope_EO[edge, i] - slope_EO[edge, j])
        expected_O[j] = -expected_O[i]
        torch.testing.assert_close(found_EO[edge], expected_O, rtol=1e-4, atol=1e-9)


def test_operations_that_were_not_drawn_keep_their_probability(
    strategy: ProxylessNAS, monkeypatch: Any
) -> None:
    for _ in range(3):  # there is no momentum, either
        before_EO = strategy.alpha["cell"].detach().softmax(1)
        with monkeypatch.context() as patch:
            mixture, slope_EO = one_step(strategy, patch)
        assert mixture.active is not None
        active_EO = mixture.active["cell"]
        moved_EO = strategy.alpha["cell"].detach().softmax(1) - before_EO
        assert moved_EO[~active_EO].abs().max() < 1e-7
        assert moved_EO[active_EO].abs().min() > 1e-5
        # probability goes to the operation whose gate has the lower slope
        for edge in range(3):
            i, j = active_EO[edge].nonzero().flatten().tolist()
            assert (moved_EO[edge, i] > 0) == (slope_EO[edge, i] < slope_EO[edge, j])


def test_weights_are_trained_on_operations_drawn_by_their_probabilities(
    strategy: ProxylessNAS,
) -> None:
    drawn_NEO = torch.stack([strategy.trained_mixture().weights["cell"] for _ in range(1000)])
    assert (drawn_NEO.sum(2) == 1).all()
    p_EO = ALPHA_EO.softmax(1)
    error_EO = (p_EO * (1 - p_EO) / 1000).sqrt()
    assert ((drawn_NEO.mean(0) - p_EO).abs() < 4 * error_EO).all()


def test_alpha_rests_while_the_weights_warm_up() -> None:
    words = (*WORDS[:2], "budget.epochs=4", "strategy.warmup=0.5", "dataset.num_train=32")
    strategy = wired(*words).strategy
    assert isinstance(strategy, ProxylessNAS)
    moved = []
    for _ in range(4):
        before_EO = strategy.alpha["cell"].detach().clone()
        strategy.step()
        moved.append(not torch.equal(before_EO, strategy.alpha["cell"].detach()))
    assert moved == [False, False, True, True]


def test_it_finds_the_optimum_of_the_toy_space() -> None:
    words = (*WORDS, "budget.epochs=12", "strategy.alpha_learning_rate=0.1")
    wiring = wired(*words, "dataset.num_train=256", "dataset.batch_size=16")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"

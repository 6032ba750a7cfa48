"""ProxylessNAS: two paths, one of them open."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.proxylessnas import ProxylessNAS
from tests.numbers.test_darts import wired


@pytest.fixture
def strategy() -> Any:
    found = wired("space=toy", "strategy=proxylessnas", "budget.epochs=4").strategy
    assert isinstance(found, ProxylessNAS)
    return found


def test_a_step_of_two_alphas_by_hand(strategy: Any) -> None:
    """Of alphas ln 2 and ln 3 p is (.4, .6); slopes 1 and 2 of the gates have the mean 1.6, and
    those of alpha are .4 (1 - 1.6) = -.24 and .6 (2 - 1.6) = .24. Adam's first step is the rate."""
    asked: list[Mixture] = []

    def gradient(mixture: Mixture, batch: Any) -> Gradient:
        asked.append(mixture)
        return Gradient(1.0, 0.5, {"cell": torch.tensor([[7.0, 1.0, 2.0, 7.0]] * 3)})

    strategy.scorer.gradient = gradient
    with torch.no_grad():
        strategy.alpha["cell"].copy_(torch.tensor([[5.0, 2.0, 3.0, 1.0]] * 3).log())
    before_EO = strategy.mixing_weights()["cell"]
    strategy.compare({"cell": torch.tensor([[1, 2]] * 3)})
    slope_EO = torch.tensor([[0.0, -0.24, 0.24, 0.0]] * 3)
    torch.testing.assert_close(strategy.alpha["cell"].grad, slope_EO)
    after_EO = strategy.mixing_weights()["cell"]
    rate = strategy.alpha_learning_rate
    ratio_E = after_EO[:, 1] / after_EO[:, 2] / (2 / 3)
    torch.testing.assert_close(ratio_E.log(), torch.full((3,), 2 * rate), rtol=1e-2, atol=1e-6)
    # the others' probabilities, and the sum of both, stay
    torch.testing.assert_close(after_EO[:, [0, 3]], before_EO[:, [0, 3]])
    ((weights, _, active),) = asked
    assert active is not None
    assert active["cell"].tolist() == [[False, True, True, False]] * 3
    assert weights["cell"].sum(dim=1).tolist() == [1.0] * 3
    assert not weights["cell"][~active["cell"]].any()


def test_operations_that_are_not_drawn_stay_where_they_are(strategy: Any) -> None:
    """Adam would move them by the momentum of earlier steps."""
    strategy.compare({"cell": torch.tensor([[0, 1]] * 3)})
    before_EO = strategy.alpha["cell"].detach().clone()
    strategy.compare({"cell": torch.tensor([[2, 3]] * 3)})
    moved_EO = strategy.alpha["cell"].detach() - before_EO
    assert not moved_EO[:, :2].any()
    assert moved_EO[:, 2:].any()


def test_each_batch_trains_one_operation_of_an_edge_and_alpha_moves_every_so_often(
    strategy: Any,
) -> None:
    trained: list[Mixture] = []
    moves: list[int] = []
    draw, compare = strategy.trained_mixture, strategy.compare
    strategy.trained_mixture = lambda: trained.append(draw()) or trained[-1]
    strategy.compare = lambda pairs: moves.append(strategy.batch) or compare(pairs)
    strategy.alpha_every = 2
    assert strategy.alpha_rests  # one of four epochs
    strategy.step()
    assert moves == []
    strategy.step()
    assert moves == list(range(0, len(trained) // 2, 2))
    for weights, _, active in trained:
        assert active is not None
        assert torch.equal(active["cell"], weights["cell"] == 1.0)
        assert active["cell"].sum(dim=1).tolist() == [1] * 3

"""BayesNAS: priors of switches, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from nasrun.errors import UsageError
from nasrun.protocols.scorer import Gradient
from nasrun.strategies.gradient.bayesnas import NO_ENTROPY, BayesNAS, inferred
from tests.numbers.test_darts import wired


@pytest.fixture
def strategy() -> BayesNAS:
    words = ("strategy.edge_sparsity=0.5", "strategy.operation_sparsity=0.25")
    strategy = wired("space=toy", "strategy=bayesnas", "strategy.alpha_images=2", *words).strategy
    assert isinstance(strategy, BayesNAS)
    return strategy


def test_update_of_a_prior_by_the_formulas_of_the_paper() -> None:
    """gamma = 2 and h = 4 give C = 1 / (1/2 + 4) = 2/9 and omega^2 = 1/2 - 2/9 / 4 = 4/9."""
    omega, gamma = inferred(torch.tensor([-0.5]), torch.tensor([2.0]), torch.tensor([4.0]))
    assert omega.item() == pytest.approx(2 / 3)
    assert gamma.item() == pytest.approx(0.5 / (2 / 3))


def test_what_is_off_or_without_influence_has_no_width() -> None:
    switch, gamma = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    omega, found = inferred(switch, gamma, torch.tensor([1.0, 0.0, 4.0]))
    torch.testing.assert_close(omega, torch.tensor([0.5**0.5, 0.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.5]))


def test_an_epoch_of_gradients_by_hand(strategy: BayesNAS) -> None:
    """Slopes 1 and -1 of operations have the mean square 1, times 2 images 2, over .25 h = 8, and
    omega^2 = 8/9. Slopes 0 and 1 of edges: 1/2, 1, h = 2 and omega^2 = 2/3."""
    slope_EO, slope_E = torch.ones(3, 4), torch.ones(3)
    strategy.seen = [
        Gradient(1.0, 0.5, {"cell": slope_EO}, {"cell": 0 * slope_E}),
        Gradient(1.0, 0.5, {"cell": -slope_EO}, {"cell": slope_E}),
    ]
    strategy.infer_priors()
    of_edge, own = (3 / 2) ** 0.5, (9 / 8) ** 0.5
    torch.testing.assert_close(strategy.gamma["cell.edges"], torch.full((3,), of_edge))
    together = 1 / (1 / own + 1 / of_edge)
    torch.testing.assert_close(strategy.gamma["cell.operations"], torch.full((3, 4), together))
    torch.testing.assert_close(strategy.omega["cell.operations"], torch.full((3, 4), 1 / own))


def test_a_step_of_the_switches_by_hand(strategy: BayesNAS) -> None:
    """SGD's first step: the rate times slope + lambda omega sign(s)."""
    with torch.no_grad():
        strategy.alpha["cell"][0] = -1.0
    strategy.omega["cell.operations"].fill_(2.0)
    strategy.omega["cell.edges"].fill_(4.0)
    slope_EO, slope_E = torch.full((3, 4), 0.3), torch.full((3,), -0.6)
    strategy.follow(Gradient(1.0, 0.5, {"cell": slope_EO}, {"cell": slope_E}))
    rate = strategy.alpha_learning_rate
    expected_EO = torch.tensor([[-1.0 - rate * (0.3 - 0.5)] * 4, *[[1 - rate * 0.8] * 4] * 2])
    torch.testing.assert_close(strategy.alpha["cell"].detach(), expected_EO)
    torch.testing.assert_close(strategy.edges["cell"].detach(), torch.full((3,), 1 - rate * 1.4))


def test_the_widest_prior_is_chosen_and_none_where_no_entropy_is_positive() -> None:
    sizes = ("space.channels=4", "space.cells=1", "space.partial_channels=1")
    strategy = wired("space=nasbench201", "strategy=bayesnas", *sizes).strategy
    assert isinstance(strategy, BayesNAS)
    gamma_EO = torch.full((6, 5), 0.9 * NO_ENTROPY)
    gamma_EO[:, strategy.space.operations.index("none")] = 9.0  # whatever its own is
    for edge, operation in ((0, 2), (1, 3), (2, 4), (5, 1)):
        gamma_EO[edge, operation] = 1.1 * NO_ENTROPY
    strategy.gamma["cell.operations"] = gamma_EO
    assert strategy.space.encode(strategy.best()[0]) == tuple(
        {0: 2, 1: 3, 2: 4, 5: 1}.get(edge, 0) for edge in range(6)
    )
    gamma_EO.fill_(2.0)
    gamma_EO[:, 0] = 0.0  # of no width
    assert strategy.entropy() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 2), rel=1e-6)


def test_switches_rest_at_1_while_the_weights_warm_up() -> None:
    strategy = wired("space=toy", "strategy=bayesnas", "budget.epochs=2").strategy
    assert isinstance(strategy, BayesNAS)
    report = strategy.step()
    assert "prior_entropy" not in report.metrics
    assert all(bool((one == 1).all()) for one in strategy.switches.values())
    report = strategy.step()
    assert math.isfinite(report.metrics["prior_entropy"])
    assert any(bool((one != 1).any()) for one in strategy.switches.values())


def test_a_landscape_is_refused_in_one_sentence(made_table: str) -> None:
    words = ("space=nasbench201", "evaluator=table", made_table, "dataset=cifar10", "retrain=none")
    with pytest.raises(UsageError, match="strategy=bayesnas needs the weights of a supernet"):
        _ = wired("strategy=bayesnas", "evaluator.accuracy_floor=0.4", *words).strategy

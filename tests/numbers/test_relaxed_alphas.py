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
from nasrun.protocols.scorer import Gradient
from nasrun.strategies.gradient.beta_darts import BetaDARTS
from nasrun.strategies.gradient.darts_minus import DARTSMinus
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
    strategy = wired(
        "strategy=pcdarts", "space=darts", "space.channels=4", "space.cells=1"
    ).strategy
    assert isinstance(strategy, PCDARTS)
    first = EDGES.index((0, 3))
    with torch.no_grad():
        for edge, weight, gate in zip(
            range(first, first + 3), (0.6, 0.5, 0.4), (1, 1, 2), strict=True
        ):
            other = (1 - weight) / 6
            strategy.alpha["normal"][edge] = math.log(other)
            strategy.alpha["normal"][edge, 3] = math.log(weight)
            strategy.beta["normal"][edge] = math.log(gate)
    cell = strategy.best()[0].cell("normal")
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


def test_beta_darts_regularises_by_the_growing_mean_of_logsumexp() -> None:
    """In epoch 2 of 4 the weight is 10 * 2 / 4 = 5. Over two cell types and all of their edges: the
    gradient by the finite differences of the formula, in float64."""
    words = ("space=darts", "space.channels=4", "space.cells=1", "budget.epochs=4")
    strategy = wired("strategy=beta_darts", *words, "strategy.lambda_end=10").strategy
    assert isinstance(strategy, BetaDARTS)
    assert strategy.penalty().item() == 0.0
    strategy.epoch = 2
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for alpha_EO in strategy.alpha.values():
            alpha_EO.copy_(torch.randn(alpha_EO.shape, generator=generator))
    strategy.penalty().backward()

    def regulariser(alpha_NO: torch.Tensor) -> float:
        return sum(5 * math.log(sum(math.exp(a) for a in row)) for row in alpha_NO.tolist()) / 28

    alpha_NO = torch.cat(list(strategy.alpha.values())).detach().double()
    assert strategy.penalty().item() == pytest.approx(regulariser(alpha_NO), rel=1e-6)
    for edge, operation in ((0, 0), (13, 6), (14, 3), (27, 5)):
        step_NO = torch.zeros_like(alpha_NO)
        step_NO[edge, operation] = 1e-5
        slope = (regulariser(alpha_NO + step_NO) - regulariser(alpha_NO - step_NO)) / 2e-5
        found = torch.cat([alpha_EO.grad for alpha_EO in strategy.alpha.values()])
        assert float(found[edge, operation]) == pytest.approx(slope, rel=1e-4)


def test_beta_darts_regularises_by_a_half_more_each_epoch_unless_told_otherwise() -> None:
    """With equal alphas the mean is ln 4; the third of 8 epochs has the weight 2 / 2."""
    strategy = wired("strategy=beta_darts", "space=toy", "budget.epochs=8").strategy
    assert isinstance(strategy, BetaDARTS)
    strategy.epoch = 2
    with torch.no_grad():
        strategy.alpha["cell"].zero_()
    assert strategy.penalty().item() == pytest.approx(math.log(4))


def test_beta_darts_takes_its_first_step_against_loss_and_regulariser() -> None:
    """Where the loss is flat the regulariser alone decides: every alpha falls by the learning rate,
    the first step of Adam. The gradient of an alpha is about 5 / 3 / 4 = .4 there."""
    strategy = wired("strategy=beta_darts", "space=toy", "strategy.lambda_end=10").strategy
    strategy.epoch, strategy.num_epochs = 1, 2
    before_EO = strategy.alpha["cell"].detach().clone()
    strategy.follow(Gradient(1.0, 0.5, {"cell": torch.zeros(3, 4)}))
    moved_EO = strategy.alpha["cell"].detach() - before_EO
    torch.testing.assert_close(moved_EO, torch.full((3, 4), -3e-4), rtol=1e-3, atol=1e-7)


def test_darts_minus_adds_a_fading_skip_that_is_not_decoded() -> None:
    """In epoch 1 of 4 beta is 3/4: of five operations with equal alpha, skip has .2 + .75."""
    words = ("space=nasbench201", "space.channels=4", "budget.epochs=4")
    strategy = wired("strategy=darts_minus", *words).strategy
    assert isinstance(strategy, DARTSMinus)
    strategy.epoch = 1
    with torch.no_grad():
        strategy.alpha["cell"].zero_()
        strategy.alpha["cell"][:, 3] = 1e-6
    expected_EO = torch.tensor([0.2, 0.95, 0.2, 0.2, 0.2]).expand(6, 5)
    torch.testing.assert_close(strategy.mixture().weights["cell"].detach(), expected_EO)
    assert {edge.operation for edge in strategy.best()[0].cell("cell").edges} == {"nor_conv_3x3"}
    strategy.epoch = 4
    torch.testing.assert_close(strategy.mixture().weights["cell"].sum(1).detach(), torch.ones(6))


def test_darts_minus_moves_alpha_by_the_softmax_alone() -> None:
    """beta is added behind the softmax, so that the chain rule does not see it: with equal alphas
    an operation's slope is .2 * (g_o - mean of g), here up for the one with the lower loss."""
    strategy = wired("strategy=darts_minus", "space=nasbench201", "space.channels=4").strategy
    with torch.no_grad():
        strategy.alpha["cell"].zero_()
    slope_EO = torch.tensor([1.0, 0.0, 2.0, -4.0, 1.0]).expand(6, 5)
    strategy.optimiser.step = lambda: None  # keeps alpha, and its gradient
    strategy.follow(Gradient(1.0, 0.5, {"cell": slope_EO}))
    torch.testing.assert_close(strategy.alpha["cell"].grad, 0.2 * slope_EO)


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=pcdarts"],
        ["strategy=beta_darts", "strategy.lambda_end=0.5"],
        # lambda grows by 1/2 an epoch, and with few batches overtakes the loss, which vanishes
        ["strategy=beta_darts", "dataset.num_train=1024", "budget.epochs=6"],
        ["strategy=darts_minus"],
    ],
)
def test_it_finds_the_optimum_of_the_toy_space(words: list[str]) -> None:
    sizes = ("dataset.num_train=256", "dataset.batch_size=16", "budget.epochs=12")
    wiring = wired("space=toy", *sizes, "strategy.alpha_learning_rate=0.1", *words)
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"

"""Methods that sample mixing weights: their draws and their gradients, against closed forms."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.networks.toy import GAINS_EO
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.gdas import GDAS
from nasrun.strategies.gradient.samplers import annealed, gumbel_softmax
from nasrun.strategies.gradient.snas import SNAS
from tests.compose import composed
from tests.numbers.test_toy_space import best_weights, two_classes

MADE = ("dataset=synthetic", "dataset.num_train=64", "budget=smoke")


def wired(*overrides: str) -> Wiring:
    return Wiring(to_typed(composed([*MADE, *overrides]), SearchConfig))


def gradient_of_alpha(strategy: Any, follow: Any) -> Tensor:
    """What `follow` leaves in alpha, which a step of the optimiser would have moved."""
    strategy.optimiser.step = lambda: None
    follow()
    return strategy.alpha["cell"].grad


# ------------------------------------------------------------------- the loss of a training batch


@pytest.fixture
def two_class_toy() -> Any:
    """A scorer that trains on a batch for which its weights are the best ones already."""

    def make(*overrides: str) -> Any:
        data = ("dataset.channels=1", "dataset.num_classes=2")
        scorer = wired("strategy=snas", "space=toy", *data, *overrides).strategy.scorer
        images, labels, unit_EF = two_classes()
        best_weights(scorer.supernet, unit_EF)
        batch = images.repeat(4, 1, 1, 1), labels.repeat(4)
        scorer.train_stream.one_pass = lambda size: iter([batch])
        scorer.train_stream.size_of_batch = lambda size: len(labels) * 4
        return scorer

    return make


def slopes_of_training(scorer: Any) -> Tensor:
    found: list[Any] = []
    mixture = Mixture({"cell": torch.full((3, 4), 0.05)})
    scorer.train_epoch(lambda: mixture, after_batch=found.append)
    (of_weights,) = found
    return of_weights["cell"]


def closed_form() -> Tensor:
    gains_EO = torch.tensor(GAINS_EO)
    return -math.sqrt(2) * gains_EO / (1 + math.exp(math.sqrt(2) * 0.05 * float(gains_EO.sum())))


def test_the_loss_of_a_batch_is_differentiated_by_its_mixture_in_the_same_pass(
    two_class_toy,
) -> None:
    scorer = two_class_toy()
    torch.testing.assert_close(slopes_of_training(scorer), closed_form())
    assert scorer.num_scorings == 0


def test_what_an_attempt_without_memory_has_gathered_is_forgotten(two_class_toy) -> None:
    """The second of two parts runs out of memory, when the first one is done."""
    scorer = two_class_toy("on_oom=halve")
    scorer._device.parts[scorer._load.name] = 2
    calls: list[int] = []

    def run_out(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError

    scorer.supernet.register_forward_pre_hook(run_out)
    torch.testing.assert_close(slopes_of_training(scorer), closed_form())
    assert len(calls) == 2 + 4


# ------------------------------------------------------------------------------- samples, and SNAS


def test_a_sample_is_the_softmax_of_logits_with_gumbel_noise() -> None:
    logits_EO = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]])
    uniform_EO = torch.rand((2, 3), generator=torch.Generator().manual_seed(3)).double()
    z_EO = (logits_EO - torch.log(-torch.log(uniform_EO))) / 0.7
    expected_EO = z_EO.exp() / z_EO.exp().sum(1, keepdim=True)
    found_EO = gumbel_softmax(logits_EO, 0.7, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found_EO, expected_EO.float())


@pytest.mark.parametrize("temperature", [0.1, 10.0])
def test_operations_are_strongest_as_often_as_alpha_says(temperature: float) -> None:
    """Of 20,000 draws, whose standard errors are below .0036."""
    logits_EO = torch.tensor([0.6, 0.3, 0.1]).log().expand(20_000, 3)
    draws_EO = gumbel_softmax(logits_EO, temperature, torch.Generator().manual_seed(0))
    found_O = torch.bincount(draws_EO.argmax(1), minlength=3) / 20_000
    assert found_O.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=0.011)


def test_the_temperature_goes_from_the_first_epoch_to_the_last() -> None:
    assert [annealed(10, 1, epoch, 4) for epoch in range(4)] == [10, 7, 4, 1]
    assert annealed(10, 1, 0, 1) == 10


def test_snas_moves_alpha_through_its_sample() -> None:
    """d loss / d alpha_j = Z_j (g_j - sum_o Z_o g_o) / tau, with tau = .5 in the last epoch."""
    strategy = wired("strategy=snas", "space=toy", "strategy.tau_end=0.5").strategy
    assert isinstance(strategy, SNAS)
    strategy.epoch = strategy.num_epochs - 1
    drawn, g_EO = strategy.mixture(), torch.tensor(GAINS_EO)
    z_EO = drawn.weights["cell"].detach()
    assert not torch.equal(strategy.mixture().weights["cell"], z_EO)
    found = gradient_of_alpha(strategy, lambda: strategy.move_alpha({"cell": g_EO}, drawn))
    torch.testing.assert_close(found, z_EO * (g_EO - (z_EO * g_EO).sum(1, keepdim=True)) / 0.5)


def test_snas_trains_the_weights_on_the_sample_by_which_alpha_moves() -> None:
    strategy = wired("strategy=snas", "space=toy", "dataset.batch_size=16").strategy
    moved_by, trained_on = [], []
    forward = strategy.scorer.supernet.forward

    def noted(images: Tensor, mixture: Mixture, **statistics: Any) -> Tensor:
        trained_on.append(mixture.weights["cell"].detach())
        return forward(images, mixture, **statistics)

    strategy.scorer.supernet.forward = noted
    strategy.move_alpha = lambda _, drawn: moved_by.append(drawn.weights["cell"].detach())
    strategy.step()
    assert len(moved_by) == 2
    assert all(map(torch.equal, moved_by, trained_on))
    assert not torch.equal(*moved_by)


# ------------------------------------------------------------------------------------------- GDAS


def test_gdas_computes_one_operation_per_edge() -> None:
    strategy = wired("strategy=gdas", "space=nasbench201", "space.channels=4").strategy
    weights, gates, active = strategy.mixture()
    assert gates is None
    assert active["cell"].sum(1).tolist() == [1] * 6
    torch.testing.assert_close(weights["cell"].detach(), active["cell"].float())


def test_gdas_passes_the_gradient_of_the_sample_straight_to_its_softmax() -> None:
    """Of an edge only the sampled operation k has a slope g, so that d loss / d alpha_j is
    g h_k ([j = k] - h_j) / tau, with h the relaxed sample and tau = 2 in the last epoch."""
    strategy = wired("strategy=gdas", "space=toy", "strategy.tau_end=2").strategy
    assert isinstance(strategy, GDAS)
    strategy.epoch = strategy.num_epochs - 1
    stream = strategy.context.streams.torch("gumbel")
    state = stream.get_state()
    drawn = strategy.mixture()
    stream.set_state(state)
    h_EO = gumbel_softmax(strategy.alpha["cell"].detach(), 2.0, stream)
    k_E = h_EO.argmax(1)
    g_E = torch.tensor([1.5, -2.0, 0.5])
    slope_EO = torch.zeros(3, 4).scatter(1, k_E[:, None], g_E[:, None])
    found = gradient_of_alpha(
        strategy, lambda: strategy.follow(Gradient(1.0, 0.5, {"cell": slope_EO}), drawn)
    )
    for edge, (k, g) in enumerate(zip(k_E.tolist(), g_E.tolist(), strict=True)):
        for j in range(4):
            h_k, h_j = float(h_EO[edge, k]), float(h_EO[edge, j])
            expected = g * h_k * ((j == k) - h_j) / 2.0
            assert float(found[edge, j]) == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------------- what they end with


def test_snas_finds_the_optimum_of_the_toy_space() -> None:
    sizes = ("dataset.num_train=256", "dataset.batch_size=16", "budget.epochs=12")
    wiring = wired("strategy=snas", "space=toy", *sizes, "strategy.alpha_learning_rate=0.1")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"


def mean_slopes(scale: float) -> list[float]:
    """Of drawn operations with the toy's gains 1, 2 and 4, over all that the other edges may be."""
    root = math.sqrt(2)
    others = [first + second for first in GAINS_EO[0] for second in GAINS_EO[0]]
    return [
        sum(root * scale * gain / (1 + math.exp(root * scale * (gain + rest))) for rest in others)
        / len(others)
        for gain in (1, 2, 4)
    ]


def test_gdas_finds_the_optimum_where_slopes_rise_with_gains() -> None:
    """On the toy itself the steepest are the middling operations, since its loss flattens out."""
    assert mean_slopes(1.0) == pytest.approx([0.0318, 0.0172, 0.0021], abs=5e-5)
    assert mean_slopes(1 / 8) == pytest.approx([0.0559, 0.0992, 0.1529], abs=5e-5)
    sizes = ("dataset.num_train=256", "dataset.batch_size=16", "budget.epochs=12")
    wiring = wired("strategy=gdas", "space=toy", *sizes, "strategy.alpha_learning_rate=0.1")
    wiring.strategy.scorer.supernet.gains_EO.mul_(1 / 8)
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"


@pytest.mark.skipif("NASRUN_DATA" not in os.environ, reason="NASRUN_DATA has the real tables")
def test_gdas_beats_random_cells_on_the_landscape_of_the_real_table() -> None:
    file = Path(os.environ["NASRUN_DATA"]) / "nasbench201.npz"
    words = ("space=nasbench201", "evaluator=table", f"evaluator.file={file}", "dataset=cifar10")
    overrides = ["strategy=gdas", *words, "retrain=none", "budget.epochs=50"]
    wiring = Wiring(to_typed(composed(overrides), SearchConfig))
    while not wiring.strategy.finished:
        wiring.strategy.step()
    table = wiring.final(wiring.strategy.best()[0]).table
    assert table is not None
    assert table.percentile > 90

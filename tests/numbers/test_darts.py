"""First-order DARTS and the gradient of a scorer, against closed forms and finite differences."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.evaluators import landscape_scores as landscapes
from nasrun.evaluators.landscape import Landscape
from nasrun.evaluators.supernet_scorer import GRADIENT
from nasrun.networks.toy import GAINS_EO
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.space import Mixture
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.strategies.gradient.darts import DARTS
from tests.compose import composed, node
from tests.made_egnas import TRAINING
from tests.numbers.test_toy_space import best_weights, two_classes

SMALL = ("budget=smoke", "strategy=darts")
MADE = ("dataset=synthetic", "dataset.num_train=64")
EDGES, OPERATIONS = 6, 5


def wired(*overrides: str) -> Wiring:
    data = () if any(word.startswith("dataset=") for word in overrides) else MADE
    return Wiring(to_typed(composed([*SMALL, *data, *overrides]), SearchConfig))


@pytest.fixture
def toy() -> Any:
    """A scorer whose supernet has the best weights, and the batch for which they are."""
    scorer = wired("space=toy", "dataset.channels=1", "dataset.num_classes=2").strategy.scorer
    images, labels, unit_EF = two_classes()
    best_weights(scorer.supernet, unit_EF)
    return scorer, (images, labels)


def test_gradient_of_a_supernet_is_that_of_the_closed_form(toy) -> None:
    scorer, batch = toy
    weights_EO = torch.full((3, 4), 0.05)
    gates_E = torch.tensor([1.0, 2.0, 0.5])
    gradient = scorer.gradient(Mixture({"cell": weights_EO}, {"cell": gates_E}), batch)
    own_E = 0.05 * torch.tensor(GAINS_EO).sum(1)  # the gain of an edge without its gate
    gain = float((gates_E * own_E).sum())
    slope = -math.sqrt(2) / (1 + math.exp(math.sqrt(2) * gain))
    assert gradient.loss == pytest.approx(math.log1p(math.exp(-math.sqrt(2) * gain)), rel=1e-5)
    assert gradient.accuracy == 1.0
    expected_EO = slope * gates_E[:, None] * torch.tensor(GAINS_EO)
    torch.testing.assert_close(gradient.of_weights["cell"], expected_EO)
    assert gradient.of_gates is not None
    torch.testing.assert_close(gradient.of_gates["cell"], slope * own_E)
    assert scorer.num_scorings == 1


def test_gradient_leaves_the_supernet_as_it_is(toy) -> None:
    scorer, batch = toy
    before = [tensor.clone() for tensor in scorer.supernet.state_dict().values()]
    scorer.gradient(Mixture({"cell": torch.full((3, 4), 0.25)}), batch)
    assert all(map(torch.equal, before, scorer.supernet.state_dict().values()))
    assert all(parameter.grad is None for parameter in scorer.supernet.parameters())


def test_gradient_in_parts_is_that_of_the_whole_batch(toy) -> None:
    """The toy supernet has no batch norm, whose statistics would be those of a part."""
    scorer, (images, labels) = toy
    batch = images.repeat(3, 1, 1, 1) + 0.1 * torch.randn(6, 1, 6, 4), labels.repeat(3)
    mixture = Mixture({"cell": torch.full((3, 4), 0.1)})
    whole = scorer.gradient(mixture, batch)
    scorer._device.parts[GRADIENT.name] = 2
    parts = scorer.gradient(mixture, batch)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    torch.testing.assert_close(parts.of_weights["cell"], whole.of_weights["cell"])


def landscape(seed: int) -> Landscape:
    space = NasBench201(channels=4, cells=1, partial_channels=1)
    rng = np.random.default_rng(7)
    genes_RE = np.stack([one.ravel() for one in np.indices((OPERATIONS,) * EDGES)], axis=1)
    table = SimpleNamespace(num_rows=len(genes_RE), genes=lambda encode: genes_RE)
    columns = SimpleNamespace(signal_R=rng.uniform(0.6, 0.95, len(genes_RE)))
    settings = {
        key: value
        for key, value in node("evaluator", "table").items()
        if key not in ("_target_", "_partial_", "file", "isomorphic", "halving")
    }
    return Landscape(space, table, columns, RandomStreams(seed), **settings)  # type: ignore[arg-type]


def test_gradient_of_a_landscape_against_finite_differences() -> None:
    place = landscape(0)
    batch = place.draw_batch(64)
    rng = np.random.default_rng(1)
    weights_EO = torch.from_numpy(rng.dirichlet(np.ones(OPERATIONS), size=EDGES))
    place._own_noise = place._accuracy_noise = 0.0  # no slope, and no part of the gradient

    def loss(changed_EO: torch.Tensor) -> float:
        return float(place.score([Mixture({"cell": changed_EO})], batch).loss_N[0])

    gradient = place.gradient(Mixture({"cell": weights_EO}), batch)
    assert gradient.loss == pytest.approx(loss(weights_EO), rel=1e-9)
    for edge in range(EDGES):
        for operation in range(OPERATIONS):
            step_EO = torch.zeros_like(weights_EO)
            step_EO[edge, operation] = 1e-4
            slope = (loss(weights_EO + step_EO) - loss(weights_EO - step_EO)) / 2e-4
            found = float(gradient.of_weights["cell"][edge, operation])
            assert found == pytest.approx(slope, abs=1e-5)


def test_gates_of_a_landscape_lead_to_none_and_have_gradients() -> None:
    place = landscape(0)
    place._own_noise = place._accuracy_noise = 0.0
    space, batch, rng = place._space, place.draw_batch(64), np.random.default_rng(1)
    genotype = space.decode([0, 1, 2, 3, 0, 4])  # `none` on two edges
    path = place.score([Mixture.single(space, genotype)], batch)
    assert path.loss_N == pytest.approx(place.score_paths([genotype], batch).loss_N)
    weights_EO = torch.from_numpy(rng.dirichlet(np.ones(OPERATIONS), size=EDGES))
    active_EO = torch.ones(EDGES, OPERATIONS, dtype=torch.bool)
    active_EO[2, 3] = False
    gates_E = torch.from_numpy(rng.uniform(0.2, 1.0, EDGES))

    def mixture(weights_EO: torch.Tensor, gates_E: torch.Tensor) -> Mixture:
        return Mixture({"cell": weights_EO}, {"cell": gates_E}, {"cell": active_EO})

    def slope(changed: str, place_in: tuple[int, ...]) -> float:
        losses = []
        for sign in (1, -1):
            parts = {"weights": weights_EO.clone(), "gates": gates_E.clone()}
            parts[changed][place_in] += sign * 1e-4
            one = mixture(parts["weights"], parts["gates"])
            losses.append(float(place.score([one], batch).loss_N[0]))
        return (losses[0] - losses[1]) / 2e-4

    gradient = place.gradient(mixture(weights_EO, gates_E), batch)
    assert gradient.of_gates is not None
    for edge in range(EDGES):
        found = float(gradient.of_gates["cell"][edge])
        assert found == pytest.approx(slope("gates", (edge,)), abs=1e-5)
        for operation in range(OPERATIONS):
            found = float(gradient.of_weights["cell"][edge, operation])
            assert found == pytest.approx(slope("weights", (edge, operation)), abs=1e-5)
    assert gradient.of_weights["cell"][2, 3] == 0


def test_a_landscape_beyond_the_simplex_counts_from_its_mean() -> None:
    """All weights 0 are worth .45, and twice a cell's weights on one edge are worth twice what sets
    the cell apart; the slope of an edge's only operation is what sets the cell apart, too."""
    place = landscape(0)
    place._own_noise = place._accuracy_noise = 0.0
    batch = place.draw_batch(10**12)  # so many images have no noise, and are not rounded
    genes = (0, 1, 2, 3, 0, 4)
    apart = place._scale * (place.scores[genes] - place.scores.mean())
    cell_EO = torch.eye(OPERATIONS)[list(genes)]
    doubled_EO = cell_EO.clone()
    doubled_EO[3] *= 2
    mixtures = [Mixture({"cell": one}) for one in (0 * cell_EO, cell_EO, doubled_EO)]
    expected = [1.4 - 3 * factor * apart for factor in (0, 1, 2)]
    assert place.score(mixtures, batch).loss_N == pytest.approx(expected, abs=1e-4)
    gradient = place.gradient(mixtures[1], batch)
    assert gradient.loss == pytest.approx(1.4 - 3 * apart, abs=1e-4)
    for edge, operation in enumerate(genes):
        found = float(gradient.of_weights["cell"][edge, operation])
        assert found == pytest.approx(-3 * apart, abs=1e-4)


def test_a_landscape_tells_the_slopes_after_each_batch() -> None:
    place, found = landscape(0), list[Any]()
    mixture = Mixture({"cell": torch.full((EDGES, OPERATIONS), 0.2)})
    place.train_epoch(lambda: mixture, after_batch=found.append)
    assert len(found) == landscapes.BATCHES_PER_EPOCH
    assert all(one["cell"].shape == (EDGES, OPERATIONS) for one in found)


def test_a_cell_type_that_no_cell_has_gets_no_gradient() -> None:
    """The one cell of such a supernet is a reduction."""
    sizes = ("space.channels=4", "space.cells=1", "space.partial_channels=1")
    scorer = wired("space=darts", *sizes).strategy.scorer
    weights = {name: torch.full((14, 7), 1 / 7) for name in ("normal", "reduce")}
    gradient = scorer.gradient(Mixture(weights), scorer.draw_batch(8))
    assert not gradient.of_weights["normal"].any()
    assert gradient.of_weights["reduce"].any()


def test_a_landscape_calls_what_comes_before_each_batch() -> None:
    calls: list[int] = []
    landscape(0).train_epoch(lambda: pytest.fail("there is nothing to train"),
                             before_batch=lambda: calls.append(1))  # fmt: skip
    assert len(calls) == landscapes.BATCHES_PER_EPOCH


def test_first_step_of_alpha_by_hand() -> None:
    """Adam's first step is the learning rate against the sign of the gradient by alpha, which is
    softmax_o * (g_o - sum_p softmax_p g_p) + weight decay * alpha."""
    strategy = wired("space=toy").strategy
    assert isinstance(strategy, DARTS)
    before_EO = strategy.alpha["cell"].detach().clone()
    g_EO = torch.tensor(GAINS_EO)
    strategy.follow(Gradient(1.0, 0.5, {"cell": g_EO}))
    w_EO = before_EO.softmax(1)
    by_alpha_EO = w_EO * (g_EO - (w_EO * g_EO).sum(1, keepdim=True)) + 1e-3 * before_EO
    moved_EO = strategy.alpha["cell"].detach() - before_EO
    torch.testing.assert_close(moved_EO, -3e-4 * by_alpha_EO.sign(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("method", [("strategy.order=1",), ("strategy.order=2",),
                                    ("strategy=idarts", "strategy.inner_steps=1")])  # fmt: skip
def test_it_finds_the_optimum_of_the_toy_space(method: tuple[str, ...]) -> None:
    words = ("space=toy", "budget.epochs=12", "strategy.alpha_learning_rate=0.1")
    wiring = wired(*words, *method, "dataset.num_train=256", "dataset.batch_size=16")
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert wiring.space.canonical(wiring.strategy.best()[0]) == "dba"


def test_a_second_supernet_never_trains_on_what_the_first_validates_on() -> None:
    wiring = wired("space=toy", "dataset.num_train=32")
    settings = {"num_epochs": 1, "batch_size": None, "training": TRAINING}
    first, second = (wiring.scorer(**settings) for _ in range(2))
    trained, validated = (
        set(stream.split._rows_N.tolist())
        for stream in (second.train_stream, first.validation_stream)
    )
    assert len(trained) == len(validated) == 16
    assert not trained & validated


def test_a_resumed_run_has_the_halves_of_the_run() -> None:
    """Whatever has been drawn before its checkpoint, and however many supernets it has built."""
    settings = {"num_epochs": 1, "batch_size": None, "training": TRAINING}

    def halves(wiring: Wiring) -> list[list[int]]:
        scorer = wiring.scorer(**settings)
        streams = (scorer.train_stream, scorer.validation_stream)
        return [stream.split._rows_N.tolist() for stream in streams]

    first, resumed, other = (
        wired("space=toy", "dataset.num_train=32", f"seed={seed}") for seed in (0, 0, 1)
    )
    expected = [halves(first) for _ in range(3)]
    resumed.streams.load_state_dict(first.streams.state_dict())
    assert [*expected, halves(resumed)] == [expected[0]] * 4
    assert halves(other) != expected[0]


@pytest.mark.skipif("NASRUN_DATA" not in os.environ, reason="NASRUN_DATA has the real tables")
def test_on_the_landscape_of_the_real_table_it_beats_random_cells() -> None:
    file = Path(os.environ["NASRUN_DATA"]) / "nasbench201.npz"
    wiring = wired(
        "space=nasbench201", "evaluator=table", f"evaluator.file={file}", "dataset=cifar10",
        "retrain=none", "budget.epochs=25",
    )  # fmt: skip
    while not wiring.strategy.finished:
        wiring.strategy.step()
    table = wiring.final(wiring.strategy.best()[0]).table
    assert table is not None
    assert table.percentile > 90

"""Training steps in which a GPU never waits for the host, nor the host for a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasrun.compute.transfers import FEW_UPDATES
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from nasrun.errors import RunError
from nasrun.evaluators.supernet_scorer import SupernetScorer
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import Mixture
from nasrun.training.loop import train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate
from tests.compose import composed
from tests.device_waits import META, Waited, no_waiting

NUM_BATCHES = 2
IMAGES = ["dataset=synthetic", "dataset.size=16", "dataset.num_train=64", "dataset.batch_size=16"]
TRAINING = WeightTraining(
    learning_rate=0.1, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4, gradient_clip=5.0
)
TOY = ["space=toy"]
DARTS = ["space=darts", "space.channels=4", "space.cells=3", "space.partial_channels=2"]
BENCH = ["space=nasbench201", "space.channels=4", "space.cells=1", "space.partial_channels=1"]
RETRAINED = {
    "darts": ["space=darts", "dataset.size=32", "retrain.auxiliary_weight=0.4", "retrain.cells=3"],
    "nasbench201": ["space=nasbench201"],
    "nasbench101": ["space=nasbench101"],
    "macro_cnn": ["space=macro_cnn"],
    "toy": ["space=toy"],
}


def wired(*overrides: str) -> Wiring:
    chosen = ["strategy=random", "evaluator=train", *IMAGES, *overrides]
    wiring = Wiring(to_typed(composed(chosen), SearchConfig))
    wiring.device.torch = META  # in the place of a GPU
    return wiring


@contextmanager
def reading() -> Iterator[list[int]]:
    """Let an epoch read its figures, and list how many numbers it reads each time; show none."""
    sizes: list[int] = []

    def read(numbers: Tensor) -> list[float]:
        sizes.append(len(numbers))
        return [1.0] * len(numbers)

    with (
        mock.patch("nasrun.training.loop.SHOW_EVERY_S", math.inf),
        mock.patch("nasrun.training.loop.read", read),
        mock.patch("nasrun.training.update.read", read),
    ):
        yield sizes


def everything(wiring: Wiring) -> Mixture:
    shapes = wiring.space.alpha_shapes
    return Mixture({name: torch.full(shape, 0.1) for name, shape in shapes.items()})


def gated(wiring: Wiring) -> Mixture:
    mixture = everything(wiring)
    gates = {name: torch.full((len(one),), 0.5) for name, one in mixture.weights.items()}
    return mixture._replace(gates=gates)


def path(wiring: Wiring) -> Mixture:
    return Mixture.single(wiring.space, wiring.space.sample(np.random.default_rng(0)))


def train_supernet(
    wiring: Wiring, mixture: Mixture, supernet: Callable[[nn.Module], None] | None = None
) -> list[int]:
    """Train for an epoch of three batches; return how many numbers were read at a time."""
    scorer = SupernetScorer(wiring, num_epochs=2, training=TRAINING)
    scorer.drop_skips(0.1)
    if supernet is not None:
        supernet(scorer.supernet)
    return read_in_an_epoch(scorer.train_stream, lambda: scorer.train_epoch(lambda: mixture))


def read_in_an_epoch(stream: BatchStream, train: Callable[[], object]) -> list[int]:
    next(stream.one_pass(16))  # images are sent with the first batch, and stay
    with no_waiting(), reading() as sizes:
        train()
    return sizes


@pytest.mark.parametrize(
    ("space", "mixture"),
    [(DARTS, gated), (DARTS, path), (BENCH, everything), (BENCH, path), (TOY, path)],
    ids=lambda one: one.__name__ if callable(one) else one[0],
)
def test_a_supernet_is_trained_without_waiting(
    space: list[str], mixture: Callable[[Wiring], Mixture]
) -> None:
    wiring = wired(*space)
    # at the end of the epoch: two figures of each update, and three of the epoch
    assert train_supernet(wiring, mixture(wiring)) == [2 * NUM_BATCHES, 3]


@pytest.mark.parametrize("space", RETRAINED)
def test_a_network_is_retrained_without_waiting(space: str) -> None:
    recipe = ["retrain=smoke", "retrain.cutout=true", "retrain.drop_path=0.2"]
    wiring = wired(*recipe, *RETRAINED[space], "dataset.num_train=32")
    genotype = wiring.space.sample(np.random.default_rng(0))
    training = Retraining(wiring, genotype, wiring.settings.retrain)
    training.network.drop_path = 0.2
    stream = training.stream

    def train() -> None:
        train_epoch(stream.one_pass(16), training._forward, training.update, wiring.device)

    sizes = read_in_an_epoch(stream, train)
    assert sizes == [2 * NUM_BATCHES, 3]


PLANTED: dict[str, Callable[[Tensor], object]] = {
    "item": lambda logits_BK: logits_BK.sum().item(),
    "float": lambda logits_BK: float(logits_BK.sum()),
    "bool": lambda logits_BK: bool(logits_BK.isfinite().all()),
    "tolist": lambda logits_BK: logits_BK.tolist(),
    "cpu": lambda logits_BK: logits_BK.cpu(),
    "nonzero": lambda logits_BK: (logits_BK > 0).nonzero(),
    "a mask": lambda logits_BK: logits_BK[logits_BK > 0],
    "an index list": lambda logits_BK: logits_BK[:, [0, 1]],
    "an index of the host": lambda logits_BK: logits_BK[torch.tensor([0, 1])],
    "numbers": lambda logits_BK: logits_BK.new_tensor([1.0, 2.0]),
    "a copy": lambda logits_BK: torch.ones(3).to(logits_BK.device),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_wait_is_noticed(mistake: str) -> None:
    wiring = wired(*TOY)

    def plant(supernet: nn.Module) -> None:
        supernet.register_forward_hook(lambda *values: PLANTED[mistake](values[2]) and None)

    with pytest.raises((Waited, RuntimeError, NotImplementedError)):
        train_supernet(wiring, everything(wiring), plant)


@pytest.mark.parametrize(("bad", "num_batches"), [(3, 50), (20, 50), (21, 50), (50, 50)])
def test_a_late_look_names_the_batch(bad: int, num_batches: int, monkeypatch) -> None:
    """As on a GPU, where the host looks at every twentieth update and at the end."""
    monkeypatch.setattr("nasrun.training.update.updates_between_looks", lambda _: FEW_UPDATES)
    weight = nn.Parameter(torch.zeros(1))
    update = WeightUpdate([weight], TRAINING, num_epochs=1)
    factors = iter([1.0] * (bad - 1) + [float("nan")] + [1.0] * num_batches)
    made = []

    def forward(batch):
        made.append(batch)
        return (weight * next(factors)).sum(), torch.zeros(2, 2)

    batches = [(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))] * num_batches
    device = wired(*TOY).device
    device.torch = torch.device("cpu")
    with pytest.raises(RunError, match=f"the training loss is nan at batch {bad} of the epoch"):
        train_epoch(batches, forward, update, device)
    assert len(made) == min(num_batches, -(-bad // FEW_UPDATES) * FEW_UPDATES)

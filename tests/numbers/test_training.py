"""The shared minibatch loop against a loop written out by hand, and its endless streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasrun.compute.device import Device, Load
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.datasets.synthetic import make_synthetic
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from nasrun.errors import OutOfMemory, RunError, UsageError
from nasrun.protocols.settings import WeightTraining
from nasrun.training.loop import TRAINING, predict, train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate
from tests.compose import composed

CPU = Device("cpu", "float32", compile_networks=False)


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(
        name="made", channels=1, size=4, num_classes=3, num_train=30, num_test=12,
        noise=32.0, seed=0,
        batch_size=8, limit=None,
        crop_padding=0, flip=False, cutout_length=0,
    )  # fmt: skip


def stream(dataset, seed: int = 0, augment: bool = False) -> BatchStream:
    generator = torch.Generator().manual_seed(seed)
    return BatchStream(dataset, dataset.train, CPU, generator, augment=augment)


def test_one_pass_has_full_batches_of_different_images(dataset) -> None:
    batches = list(stream(dataset).one_pass(8))
    assert [len(labels_B) for _, labels_B in batches] == [8, 8, 8]
    images = torch.cat([images_BCHW.flatten(1) for images_BCHW, _ in batches])
    assert len(torch.unique(images, dim=0)) == 24


def test_a_batch_larger_than_the_split_is_the_split(dataset) -> None:
    assert [len(labels_B) for _, labels_B in stream(dataset).one_pass(100)] == [30]


def test_take_is_endless_and_resumes_in_the_middle_of_a_pass(dataset) -> None:
    whole = stream(dataset)
    expected = [whole.take(12)[1] for _ in range(6)]
    first = stream(dataset)
    for _ in range(3):
        first.take(12)
    second = stream(dataset, seed=9)
    second.load_state_dict(first.state_dict())
    second._generator.set_state(first._generator.get_state())
    for labels_B in expected[3:]:
        assert torch.equal(second.take(12)[1], labels_B)


def sgd(
    rate: float, lowest: float, momentum: float, weight_decay: float, clip: float
) -> WeightTraining:
    return WeightTraining(
        learning_rate=rate,
        learning_rate_min=lowest,
        momentum=momentum,
        weight_decay=weight_decay,
        gradient_clip=clip,
    )


def test_sgd_with_cosine_and_clipping_equals_a_loop_by_hand(dataset) -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(16, 3).double()
    twin = torch.nn.Linear(16, 3).double()
    twin.load_state_dict(network.state_dict())
    update = WeightUpdate(
        network.parameters(), sgd(0.5, 0.1, 0.9, weight_decay=0.01, clip=0.3), num_epochs=2
    )
    batches = [(x.flatten(1).double(), y) for x, y in stream(dataset).one_pass(8)]

    def forward(batch):
        logits_BK = network(batch[0])
        return functional.cross_entropy(logits_BK, batch[1]), logits_BK

    metrics = [train_epoch(batches, forward, update, CPU) for _ in range(2)]

    velocity = [torch.zeros_like(p) for p in twin.parameters()]
    for learning_rate in (0.5, 0.3):  # the cosine from 0.5 to 0.1 is 0.3 half way
        losses = []
        for images, labels in batches:
            loss = functional.cross_entropy(twin(images), labels)
            losses.append(loss.item())
            gradients = torch.autograd.grad(loss, list(twin.parameters()))
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            scale = min(1.0, 0.3 / (norm.item() + 1e-6))
            with torch.no_grad():
                for p, g, v in zip(twin.parameters(), gradients, velocity, strict=True):
                    v.mul_(0.9).add_(g * scale + 0.01 * p)
                    p.sub_(learning_rate * v)
        mean_loss = sum(losses) / len(losses)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)
    assert metrics[1]["loss"] == pytest.approx(mean_loss)
    assert metrics[0]["learning_rate"] == 0.5
    assert metrics[1]["learning_rate"] == pytest.approx(0.3)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    update = WeightUpdate(
        [weight], sgd(1.0, 0.0, momentum=0.0, weight_decay=0.0, clip=0.0), num_epochs=1
    )
    factors = iter([1.0, float("nan")])

    def forward(batch):
        return (weight * next(factors)).sum(), torch.zeros(2, 2)

    batches = [(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))] * 2
    with pytest.raises(RunError, match="the training loss is nan at batch 2 of the epoch"):
        train_epoch(batches, forward, update, CPU)
    assert weight.item() == 0.0  # one update of 1.0 was made, the second was not


def test_a_gradient_that_is_not_finite_stops_before_the_update() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    update = WeightUpdate(
        [weight], sgd(1.0, 0.0, momentum=0.0, weight_decay=0.0, clip=5.0), num_epochs=1
    )
    batches = [(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))]
    load = Load("training", "strategy", "space.channels")
    message = "the norm of the gradient is inf at batch 1 of the epoch; lower strategy.learning"
    with pytest.raises(RunError, match=message):  # d sqrt(w) at 0
        train_epoch(
            batches, lambda _: (weight.sqrt().sum(), torch.zeros(2, 2)), update, CPU, load=load
        )
    assert weight.item() == 0.0


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=range(4))
def test_with_half_of_the_batch_at_a_time_the_update_is_the_same(dataset, error) -> None:
    networks = [torch.nn.Linear(16, 3).double() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    batches = [(x.flatten(1).double(), y) for x, y in stream(dataset).one_pass(10)]
    found = []
    for network, most in zip(networks, (10, 3), strict=True):
        device = Device("cpu", "float32", compile_networks=False, on_oom="halve")

        def forward(batch, network=network, most=most):
            logits_BK = network(batch[0])
            if len(batch[0]) > most:
                raise error
            return functional.cross_entropy(logits_BK, batch[1]), logits_BK

        update = WeightUpdate(
            network.parameters(), sgd(0.5, 0.1, 0.9, weight_decay=0.01, clip=0.3), num_epochs=1
        )
        metrics = train_epoch(batches, forward, update, device)
        found.append((metrics["loss"], metrics["accuracy"]))
    assert device.parts == {"training": 4}  # 10 images: 3, 3, 2, 2
    assert found[1] == pytest.approx(found[0], abs=1e-12)
    for whole, parts in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.allclose(whole, parts, atol=1e-12)


def test_what_does_not_fit_by_halves_says_what_to_lower() -> None:
    load = Load("retraining", "retrain", "retrain.channels or retrain.cells")

    def compute(parts: int) -> None:
        raise MemoryError

    message = "out of memory: the retraining takes {} images at a time on cpu; lower "
    message += "retrain.batch_size, retrain.channels or retrain.cells"
    for on_oom, left, more in (("stop", 16, ", or type on_oom=halve"), ("halve", 2, "")):
        device = Device("cpu", "float32", compile_networks=False, on_oom=on_oom)
        with pytest.raises(OutOfMemory) as caught:
            device.in_parts(load, 16, compute)
        assert str(caught.value) == message.format(left) + more


def test_other_failures_are_not_taken_for_want_of_memory() -> None:
    def compute(parts: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        CPU.in_parts(TRAINING, 16, compute)


def test_predictions_in_parts_are_the_same(dataset) -> None:
    device = Device("cpu", "float32", compile_networks=False, on_oom="halve")

    def network(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise MemoryError
        return images.flatten(1)[:, :3]

    expected_NK, _ = predict(lambda images: images.flatten(1)[:, :3], dataset, dataset.test, CPU)
    found_NK, _ = predict(network, dataset, dataset.test, device, 5)
    assert torch.equal(found_NK, expected_NK)
    assert device.parts == {"prediction": 2}


def test_predict_keeps_the_order(dataset) -> None:
    network = lambda images: images.flatten(1)[:, :3]  # noqa: E731
    logits_NK, labels_N = predict(network, dataset, dataset.test, CPU, 5)
    assert torch.equal(labels_N, dataset.test.labels_N)
    raw, _ = next(dataset.test.batches(torch.arange(12), 12, torch.device("cpu")))
    assert torch.allclose(logits_NK, dataset.normalise(raw).flatten(1)[:, :3])


@pytest.mark.parametrize("name", ["gpu", "cuda:-3", "mps", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="device="):
        Device(name, "auto", compile_networks=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="no usable GPU: use device=cpu"):
        Device("cuda", "auto", compile_networks=False)


# ---------------------------------------------------------------------------- numbers of float64

TINY = ["dataset=digits", "dataset.limit=64", "dataset.batch_size=16", "space.channels=4",
        "space.cells=1", "budget.epochs=2", "population.size=3", "precision=float64",
        "space=nasbench201"]  # fmt: skip
EXPLORING = ["strategy.warmup=0", "strategy.fitness_images=16", "strategy.selection_images=16"]


@pytest.mark.parametrize("words", [["strategy=egnas", *EXPLORING], ["strategy=darts"]], ids=str)
def test_in_float64_other_threads_come_to_the_same(words: list[str]) -> None:
    """Sums in another order differ in the sixteenth digit, and training keeps that small."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            strategy = Wiring(to_typed(composed([*TINY, *words]), SearchConfig)).strategy
            metrics = {**strategy.step().metrics, **strategy.last_metrics()}
            found.append({name: metrics[name] for name in metrics if "second" not in name})
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-9)


def test_labels_and_retrainings_compute_in_float64() -> None:
    wiring = Wiring(
        to_typed(
            composed([*TINY, "strategy=random", "budget.evaluations=1", "evaluator.epochs=1",
                      "evaluator.channels=2", "retrain=smoke", "retrain.channels=2"]),
            SearchConfig,
        )
    )  # fmt: skip
    (label,) = wiring.strategy.step().evaluations
    assert label.error is None
    training = Retraining(wiring, label.genotype, wiring.settings.retrain)
    assert np.isfinite(training.step().metrics["loss"])
    floating = [one for one in training.model_state().values() if one.is_floating_point()]
    assert {one.dtype for one in floating} == {torch.float64}

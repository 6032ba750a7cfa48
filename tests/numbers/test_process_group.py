"""Two processes do what one does, in float64 and to twelve digits; this file is what they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasrun.compute import process_group
from nasrun.compute.device import Device
from nasrun.compute.process_group import ALONE, ProcessGroup
from nasrun.compute.synchronised_norm import batch_norm
from nasrun.config.compose import to_typed
from nasrun.config.plugins import build
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import RunError, UsageError
from nasrun.networks.blocks.dropout import Dropout
from nasrun.protocols.data import TaskShape
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import Mixture, NetworkSize, as_module
from nasrun.training.loop import predict, train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate
from tests.compose import composed

BATCH, CLASSES = 9, 4  # does not divide by two
ONE_SHOT = ("evaluator=shared_weights", "evaluator.epochs=1")
SUPERNETS = ("darts", "nasbench201")


def normalised(group: ProcessGroup) -> dict[str, Tensor]:
    """What `batch_norm` gives for a batch of nine, and its gradients."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 4, 5, generator=generator, dtype=torch.float64)
    factors = torch.randn(BATCH, 3, 4, 5, generator=generator, dtype=torch.float64)
    rows = group.share(BATCH)
    own = images[rows.start : rows.stop].requires_grad_()
    weight, bias = (
        torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_() for _ in "wb"
    )
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    if group.size == 1:
        found = F.batch_norm(own, mean, variance, weight, bias, training=True)
    else:
        found = batch_norm(group, own, mean, variance, weight, bias)
    (found * factors[rows.start : rows.stop]).sum().backward()
    gradients = [tensor.grad for tensor in (own, weight, bias)]
    return {
        "images": group.gather(found.detach(), BATCH),
        "of images": group.gather(gradients[0], BATCH),
        "of weight": group.sum(gradients[1]),
        "of bias": group.sum(gradients[2]),
        "mean": mean,
        "variance": variance,
    }


def trained(space_name: str, group: ProcessGroup) -> dict[str, Tensor]:
    """The supernet after four updates, and their loss; elements of skips are dropped."""
    device = Device("cpu", "float64", compile_networks=False, group=group)
    words = [f"space={space_name}", "space.channels=4", "space.cells=2"]
    space = build(to_typed(composed(words), SearchConfig).space)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = TaskShape(3, (8, 8), CLASSES)
        supernet = as_module(space.supernet(shape, skip_dropout=0.4)).double()
    device.place(supernet)
    parallel = device.parallel(supernet)
    generator = torch.Generator().manual_seed(1)
    mixture = {
        name: torch.rand(shape, generator=generator).double()
        for name, shape in space.alpha_shapes.items()
    }
    rows = group.share(BATCH)
    batches = []
    for _ in range(4):
        images = torch.randn(BATCH, 3, 8, 8, generator=generator, dtype=torch.float64)
        labels = torch.randint(CLASSES, (BATCH,), generator=generator)
        batches.append((images[rows.start : rows.stop], labels[rows.start : rows.stop]))
    update = WeightUpdate(
        supernet.parameters(),
        WeightTraining(
            learning_rate=0.1,
            learning_rate_min=0.0,
            momentum=0.9,
            weight_decay=1e-3,
            gradient_clip=5.0,
        ),
        num_epochs=2,
    )

    def forward(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        logits = parallel(batch[0], Mixture(mixture))
        return F.cross_entropy(logits, batch[1]), logits

    with torch.random.fork_rng():
        torch.manual_seed(2)
        metrics = train_epoch(batches, forward, update, device, batch_size=BATCH)
    figures = torch.tensor([metrics["loss"], metrics["accuracy"]], dtype=torch.float64)
    return {**supernet.state_dict(), "loss and accuracy": figures}


def differentiated(space_name: str, group: ProcessGroup) -> dict[str, Tensor]:
    """The gradient of a scorer by a mixture with gates, on a batch that does not divide by two."""
    words = [f"space={space_name}", "space.channels=4", "space.cells=3", "strategy=darts"]
    words += ["dataset=synthetic", "dataset.num_train=80", "dataset.size=8"]
    words += ["device=cpu", "precision=float64"]
    wiring = Wiring(to_typed(composed(words), SearchConfig), group=group)
    scorer = wiring.strategy.scorer
    images, labels = scorer.draw_batch(BATCH)
    generator = torch.Generator().manual_seed(2)
    shapes = wiring.space.alpha_shapes
    mixture = Mixture(
        {name: torch.rand(shape, generator=generator).double() for name, shape in shapes.items()},
        {
            name: torch.rand(shape[0], generator=generator).double()
            for name, shape in shapes.items()
        },
    )
    before = {name: one.clone() for name, one in scorer.supernet.state_dict().items()}
    gradient = scorer.gradient(mixture, (images.double(), labels))
    few = scorer.gradient(mixture, (images[:3].double(), labels[:3]))  # too few for each to share
    assert all(map(torch.equal, before.values(), scorer.supernet.state_dict().values()))
    figures = [gradient.loss, gradient.accuracy, few.loss, few.accuracy]
    return {
        **{f"weights {name}": rows for name, rows in gradient.of_weights.items()},
        **{f"gates {name}": rows for name, rows in (gradient.of_gates or {}).items()},
        **{f"few {name}": rows for name, rows in few.of_weights.items()},
        "figures": torch.tensor(figures, dtype=torch.float64),
    }


def searched(group: ProcessGroup) -> dict[str, Any]:
    """Batches with their augmentation, scores of three candidates, predictions."""
    words = ["space=toy", "dataset=synthetic", "dataset.num_train=80", "dataset.crop_padding=2"]
    wiring = Wiring(to_typed(composed(words), SearchConfig), group=group)
    scorer = wiring.strategy.scorer
    stream = BatchStream(
        wiring.dataset,
        wiring.dataset.train,
        wiring.device,
        wiring.streams.torch("test"),
        augment=True,
        cutout=True,
    )
    batches = list(stream.one_pass(BATCH))
    candidates = [
        Mixture(
            {
                name: torch.rand(shape, generator=torch.Generator().manual_seed(seed))
                for name, shape in wiring.space.alpha_shapes.items()
            }
        )
        for seed in range(3)
    ]
    scores = scorer.score(candidates, scorer.draw_batch(16))
    own = scorer.score(candidates[:1], scorer.draw_batch(16))  # the other one has none
    gradient = scorer.gradient(candidates[0], scorer.draw_batch(16))
    network = wiring.space.network(
        wiring.space.discretise(candidates[0].weights),
        wiring.dataset.shape,
        NetworkSize(channels=4, cells=1),
    )
    torch.manual_seed(0)
    for parameter in as_module(network).parameters():
        torch.nn.init.normal_(parameter)
    logits, labels = predict(
        as_module(network).eval(), wiring.dataset, wiring.dataset.test, wiring.device, 7
    )
    return {
        "images": [group.gather(images.contiguous(), BATCH) for images, _ in batches],
        "labels": [group.gather(labels, BATCH) for _, labels in batches],
        "loss": torch.from_numpy(scores.loss_N),
        "accuracy": torch.from_numpy(scores.accuracy_N),
        "noise": torch.from_numpy(scores.noise_N),
        "own": torch.from_numpy(own.loss_N),
        "gradient": gradient.of_weights["cell"],
        "scorings": scorer.num_scorings,
        "logits": logits,
        "predicted labels": labels,
    }


def labelled(group: ProcessGroup) -> list[float]:
    """The errors of three networks that were trained, and with the weights of one supernet."""
    words = ["space=toy", "dataset=synthetic", "dataset.num_train=80", "strategy=random"]
    wiring = Wiring(
        to_typed(composed([*words, "evaluator=train", "evaluator.epochs=1"]), SearchConfig),
        group=group,
    )
    genotypes = [wiring.space.sample(np.random.default_rng(seed)) for seed in range(3)]
    own = [label.values[0] for label in wiring.raw_evaluator.evaluate(genotypes)]
    shared = Wiring(to_typed(composed([*words, *ONE_SHOT]), SearchConfig), group=group)
    return own + [label.values[0] for label in shared.raw_evaluator.evaluate(genotypes)]


def everything(group: ProcessGroup) -> dict[str, Any]:
    return {
        "normalised": normalised(group),
        **{name: trained(name, group) for name in SUPERNETS},
        **{f"gradient {name}": differentiated(name, group) for name in SUPERNETS},
        "searched": searched(group),
        "labelled": labelled(group),
    }


def exchanges(group: ProcessGroup) -> dict[str, Any]:
    """Of the group itself."""
    tensors = [torch.full((2,), float(group.rank))]
    group.copy_of_first(tensors)
    try:
        process_group.require_same(group, "data", {"sha256": str(group.rank)})
    except RunError as error:
        apart = str(error)
    try:
        Device("cpu", "float32", compile_networks=False, on_oom="halve", group=group)
    except UsageError as error:
        halves = str(error)
    return {
        "shares": group.collect(list(group.share(5))),
        "gathered": group.gather(torch.tensor([*group.share(5)]), 5),
        "sum": group.sum(torch.tensor(1.5)),
        "first": group.of_first(lambda: f"made by {group.rank}"),
        "copied": tensors[0],
        "apart": apart,
        "halves": halves,
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> dict[str, Any]:
    """What two processes find."""
    folder = tmp_path_factory.mktemp("group")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    here = Path(__file__)
    environment = os.environ | {"PYTHONPATH": str(here.parents[2])}
    subprocess.run([*torchrun, here, str(folder / "found.pt")], env=environment, check=True)
    found: dict[str, Any] = torch.load(folder / "found.pt", weights_only=True)
    return found


@pytest.mark.processes
def test_two_processes_exchange(two) -> None:
    found = two["exchanges"]
    assert found["shares"] == [[0, 1, 2], [3, 4]]
    assert found["gathered"].tolist() == [0, 1, 2, 3, 4]
    assert found["sum"] == 3
    assert found["first"] == "made by 0"
    assert found["copied"].tolist() == [0, 0]
    assert "the data of process 1 is another one than that of process 0" in found["apart"]
    assert "on_oom=halve is not possible with torchrun" in found["halves"]


@pytest.mark.processes
@pytest.mark.parametrize("name", ["normalised", *SUPERNETS])
def test_two_processes_train_as_one(two, name: str) -> None:
    expected = normalised(ALONE) if name == "normalised" else trained(name, ALONE)
    assert two[name].keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(two[name][key], expected[key], rtol=1e-10, atol=1e-12)


@pytest.mark.processes
@pytest.mark.parametrize("name", SUPERNETS)
def test_two_processes_differentiate_as_one(two, name: str) -> None:
    expected, found = differentiated(name, ALONE), two[f"gradient {name}"]
    assert found.keys() == expected.keys()
    assert all(one.any() for one in expected.values())
    for key in expected:
        # logits are float32 where the loss is taken
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-7)


@pytest.mark.processes
def test_two_processes_see_and_score_as_one(two) -> None:
    expected = searched(ALONE)
    for key in ("images", "labels"):
        for found, wanted in zip(two["searched"][key], expected[key], strict=True):
            assert found.equal(wanted)
    for key in ("loss", "accuracy", "noise", "own", "gradient", "logits", "predicted labels"):
        torch.testing.assert_close(two["searched"][key], expected[key])
    assert two["searched"]["scorings"] == expected["scorings"] == 5


@pytest.mark.processes
def test_two_processes_label_as_one(two) -> None:
    assert two["labelled"] == pytest.approx(labelled(ALONE), abs=1e-9)


def test_a_share_of_a_batch_drops_what_the_whole_drops() -> None:
    whole, rows_RN = Dropout(), torch.rand(10, 7, dtype=torch.float64)

    def dropped(module: Dropout, rows_RN: Tensor) -> Tensor:
        torch.manual_seed(0)
        found: Tensor = module(rows_RN, 0.25)
        return found

    expected = dropped(whole, rows_RN)
    torch.manual_seed(0)
    assert expected.equal(F.dropout(rows_RN, 0.25))
    share = Dropout()
    share.place_in_batch = lambda _: (10, 6)
    assert dropped(share, rows_RN[6:9]).equal(expected[6:9])


def test_shares() -> None:
    class Third(ProcessGroup):
        rank, size = 2, 3

    assert [list(Third().share(total)) for total in (2, 3, 8)] == [[], [2], [6, 7]]
    assert list(ALONE.share(3)) == [0, 1, 2]


if __name__ == "__main__":
    group = process_group.join("cpu")
    found = {**everything(group), "exchanges": exchanges(group)}
    if group.is_first:
        torch.save(found, sys.argv[1])

"""Make a trained network smaller: whole channels go, and what is left is trained on.

G. Fang, X. Ma, M. Song, M. Bi Mi, X. Wang. DepGraph: Towards Any Structural Pruning. CVPR 2023,
arXiv 2301.12900, as the package torch-pruning has it: channels that only make sense together form a
group, and in each layer the groups of the smallest norm are cut out. Shapes: B batch, K classes.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasrun.compute.device import Device, precise
from nasrun.config import plugins
from nasrun.engine.export import Exported, export
from nasrun.engine.trained import Standalone, Trained
from nasrun.errors import UsageError, require
from nasrun.networks.blocks.batch_norm import with_torchs_norms
from nasrun.protocols.data import Batch, Dataset
from nasrun.protocols.exporter import Exporter
from nasrun.protocols.settings import WeightTraining
from nasrun.protocols.space import Network
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams
from nasrun.training.costs import measure
from nasrun.training.loop import LossAndLogits, predict, train_epoch
from nasrun.training.streams import BatchStream
from nasrun.training.update import WeightUpdate

NUM_COMPARED = 2_000  # test images behind an accuracy, at most
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
           ValueError)  # fmt: skip
TUNING = WeightTraining(
    learning_rate=0.02, learning_rate_min=0.0, momentum=0.9, weight_decay=3e-4, gradient_clip=5.0
)


@dataclass(frozen=True)
class Stage:
    """A network as it is before or after."""

    name: str
    params: int
    flops: int  # multiply-adds of one input
    accuracy: float  # of the network itself, on the same images as that of the files
    files: tuple[Exported, ...]


@dataclass(frozen=True)
class Compressed:
    """What a compression did; `cut_accuracy` is that of the pruned network before it was tuned."""

    original: Stage
    pruned: Stage
    cut_accuracy: float  # on all test images
    tuned_accuracy: float


def compress(
    trained: Trained,
    dataset: Dataset,
    chosen: Mapping[str, Exporter],
    folder: Path,
    *,
    keep: float,
    epochs: int,
    progress: Progress,
) -> Compressed:
    """Prune a network, train it on, and write it; the formats of the original are measured too.

    Raises:
        UsageError: a setting is out of range, the package is missing, or the network is of a kind
            that it cannot prune.
    """
    require(0 < keep < 1, "--keep", keep, "above 0 and below 1: the share of channels that stay")
    require(epochs >= 0, "--epochs", epochs, "at least 0")
    if plugins.not_installed(["torch_pruning"]):
        raise UsageError(
            "nasrun compress needs torch-pruning: type python -m pip install torch-pruning"
        )
    device = Device("auto", "float32", False)
    network = pruned(trained, keep)
    smaller = replace(trained, network=network)
    cut = _accuracy(network, dataset, device)
    if epochs > 0:
        tune(network.network, dataset, device, epochs, progress)
    tuned = _accuracy(network, dataset, device)
    network.to("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        before = _stage("original", trained, dataset, chosen, Path(scratch))
    return Compressed(before, _stage("pruned", smaller, dataset, chosen, folder), cut, tuned)


def pruned(trained: Trained, keep: float) -> Standalone:
    """Copy a network with a share of the channels of each layer, by the L2 norm of their weights.

    The logits keep their number.
    """
    import torch_pruning

    network = with_torchs_norms(copy.deepcopy(trained.network.network)).eval()
    record = trained.record
    example_BCHW = torch.zeros(2, record.input_channels, *record.input_size)
    num_classes = len(record.reading.classes)
    heads = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == num_classes
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch_pruning.pruner.BasePruner(
                network,
                example_BCHW,
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=1 - keep,
                ignored_layers=heads,
            ).step()
        with torch.no_grad():
            fits = network(example_BCHW).shape == (2, num_classes)
    except MISFITS as error:
        raise UsageError(
            f"the network of {trained.folder} cannot be pruned ({str(error).splitlines()[0]}); "
            "nasrun export --format int8 makes it smaller in another way"
        ) from None
    assert fits, "the classifier is left as it is"
    return Standalone(network, record).eval()


def tune(
    network: nn.Module, dataset: Dataset, device: Device, epochs: int, progress: Progress
) -> None:
    """Train a network on for some epochs of the whole training set, by SGD and a cosine."""
    streams = RandomStreams(0)
    device.place(network)
    update = WeightUpdate(network.parameters(), TUNING, num_epochs=epochs)
    batches = BatchStream(dataset, dataset.train, device, streams.torch("compress"), augment=True)

    def forward(batch: Batch) -> LossAndLogits:
        images_BCHW, labels_B = batch
        logits_BK: Tensor = network(images_BCHW)
        return functional.cross_entropy(precise(logits_BK), labels_B), logits_BK

    network.train()
    for epoch in range(1, epochs + 1):
        found = train_epoch(batches.one_pass(dataset.batch_size), forward, update, device)
        progress(epoch, epochs, loss=found["loss"])
    network.eval()


def _accuracy(network: Standalone, dataset: Dataset, device: Device) -> float:
    logits_NK, labels_N = predict(device.place(network.network), dataset, dataset.test, device)
    return float((logits_NK.argmax(1) == labels_N).double().mean())


def _stage(
    name: str, trained: Trained, dataset: Dataset, chosen: Mapping[str, Exporter], folder: Path
) -> Stage:
    files, accuracy = export(trained, dataset, chosen, folder, NUM_COMPARED)
    params, flops = measure(cast(Network, trained.network.network), dataset.shape)
    return Stage(name, params, flops, accuracy, tuple(files))


def plain(found: Compressed) -> dict[str, Any]:
    """Return what `compressed.json` has."""
    stages = {
        stage.name: {
            "params": stage.params,
            "flops": stage.flops,
            "accuracy": stage.accuracy,
            "files": {
                one.name: {
                    "bytes": one.num_bytes,
                    "accuracy": one.accuracy,
                    "latency_ms": {str(size): list(ms) for size, ms in one.latency_ms.items()},
                }
                for one in stage.files
            },
        }
        for stage in (found.original, found.pruned)
    }
    test = {"cut": found.cut_accuracy, "tuned": found.tuned_accuracy}
    return {**stages, "test_accuracy": test}

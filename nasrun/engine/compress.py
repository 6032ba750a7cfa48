"""Make a trained network smaller: whole channels go, and what is left is trained on.

G. Fang, X. Ma, M. Song, M. Bi Mi, X. Wang. DepGraph: Towards Any Structural Pruning. CVPR 2023,
arXiv 2301.12900, as the package torch-pruning has it: channels that only make sense together form a
group, and in each layer the groups of the smallest norm are cut out.
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
from torch import nn

from nasrun.compute.device import Device
from nasrun.config import plugins
from nasrun.engine.export import Exported, export
from nasrun.engine.trained import Standalone, Trained
from nasrun.engine.tuning import test_accuracy, tune
from nasrun.errors import UsageError, require
from nasrun.networks.blocks.batch_norm import with_torchs_norms
from nasrun.protocols.data import Dataset
from nasrun.protocols.exporter import Exporter
from nasrun.protocols.space import Network
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams
from nasrun.training.costs import measure

NUM_COMPARED = 2_000  # test images behind an accuracy, at most
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
           ValueError)  # fmt: skip


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
    cut = test_accuracy(network.network, dataset, device)
    if epochs > 0:
        tune(network.network, dataset, device, RandomStreams(0), epochs, progress)
    tuned = test_accuracy(network.network, dataset, device)
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

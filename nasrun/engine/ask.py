"""Ask a trained network: what it says of new inputs, and how good it is on labelled ones.

Shapes: N inputs, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nasrun.datasets import inputs
from nasrun.datasets.inputs import Inputs
from nasrun.engine.trained import Trained
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset
from nasrun.training.quality import Quality


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an input, the first one first."""

    name: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def unlabelled(trained: Trained, paths: list[Path]) -> Iterator[Inputs]:
    """Read pictures, folders of them, .npz files, and .csv files of signals."""
    record = trained.record
    arrays = [path for path in paths if path.suffix == ".npz"]
    for file in arrays:
        yield from inputs.from_arrays(
            file, record.input_channels, record.input_size, labelled=False
        )
    tables = [path for path in paths if path.suffix == ".csv"]
    for file in tables:
        yield from inputs.from_rows(file, record.input_channels, record.input_size)
    others = [path for path in paths if path not in (*arrays, *tables)]
    if others:
        files = inputs.pictures_of(others)
        yield from inputs.from_pictures(
            files, record.reading, record.input_channels, record.input_size
        )


def labelled(trained: Trained, path: Path) -> Iterator[Inputs]:
    """Read a folder of class folders, or an .npz file with x_test and y_test."""
    record = trained.record
    if path.is_dir():
        return inputs.from_class_folders(
            path, record.reading, record.input_channels, record.input_size
        )
    if not path.is_file():
        raise UsageError(f"there is no file or folder {path}")
    return inputs.from_arrays(path, record.input_channels, record.input_size, labelled=True)


def predictions(trained: Trained, given: Iterable[Inputs], top: int) -> Iterator[Prediction]:
    """Yield the `top` most probable classes of each input."""
    names = trained.record.reading.classes
    for batch in given:
        probabilities_BK = trained.logits(torch.from_numpy(batch.raw_BCHW)).softmax(dim=1)
        best = probabilities_BK.topk(min(top, len(names)), dim=1)
        rows = zip(batch.names, best.indices.tolist(), best.values.tolist(), strict=True)
        for name, labels, probabilities in rows:
            yield Prediction(name, tuple(names[one] for one in labels), tuple(probabilities))


def quality(trained: Trained, given: Iterable[Inputs]) -> Quality:
    """Compare what the network says of labelled inputs with their labels.

    Raises:
        UsageError: there are no inputs, or labels that are none of the network's.
    """
    classes = trained.record.reading.classes
    confusion_KK = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for batch in given:
        assert batch.labels_B is not None
        labels_B = np.asarray(batch.labels_B)
        if len(labels_B) != len(batch.names):
            raise UsageError(f"there are {len(batch.names)} inputs and {len(labels_B)} labels")
        if labels_B.dtype.kind not in "ui" or labels_B.min() < 0 or labels_B.max() >= len(classes):
            raise UsageError(
                f"labels must be whole numbers from 0 to {len(classes) - 1}, and "
                f"{batch.names[0].rpartition(':')[0]} has others"
            )
        said_B = trained.logits(torch.from_numpy(batch.raw_BCHW)).argmax(dim=1).numpy()
        np.add.at(confusion_KK, (labels_B, said_B), 1)
    if confusion_KK.sum() == 0:
        raise UsageError("there are no inputs")
    return Quality(classes, confusion_KK)


def of_test_split(dataset: Dataset) -> Iterator[Inputs]:
    """Read the test images of the dataset that the network was trained on."""
    split, first = dataset.test, 0
    for raw_BCHW, labels_B in split.batches(
        torch.arange(len(split)), inputs.BATCH, torch.device("cpu")
    ):
        names = [f"test:{first + row}" for row in range(len(raw_BCHW))]
        first += len(raw_BCHW)
        yield Inputs(names, raw_BCHW.float().numpy(), labels_B.numpy())

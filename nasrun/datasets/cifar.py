"""Load CIFAR-10 and CIFAR-100, as torchvision downloads and reads them.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nasrun.datasets.arrays import ArrayDataset, Arrays
from nasrun.datasets.augmentation import Augmentation
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import BatchSize, NumImages, Pixels, Place

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

# Mean and deviation per channel of the 50,000 training images, in raw values.
STATISTICS = {
    10: ([125.3069, 122.9504, 113.8654], [62.9932, 62.0887, 66.7049]),
    100: ([129.3042, 124.0700, 112.4340], [68.1702, 65.3918, 70.4184]),
}


def load_cifar(
    *,
    name: str,
    num_classes: Literal[10, 100],
    root: Place,
    download: bool,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels,
    flip: bool,
    cutout_length: Pixels,
) -> Dataset:
    """Load CIFAR-10 (`num_classes=10`) or CIFAR-100 (100): images_NCHW, uint8, 3 x 32 x 32.

    The files hold pickles; torchvision opens only files whose MD5 is that of the official ones.

    Raises:
        UsageError: the files are not in `root`, are damaged or cannot be fetched.
    """
    from torchvision import datasets

    source = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes]
    folder = Path(root).expanduser()
    train = _read(source, folder, train=True, download=download)
    test = _read(source, folder, train=False, download=False)
    return ArrayDataset(
        name=name,
        train=_arrays(train),
        test=_arrays(test),
        num_classes=num_classes,
        batch_size=batch_size,
        limit=limit,
        augmentation=Augmentation(crop_padding, flip, cutout_length),
        statistics=STATISTICS[num_classes],
        class_names=train.classes,
    )


def _read(source: type[CIFAR10], root: Path, *, train: bool, download: bool) -> CIFAR10:
    try:
        return source(root, train=train, download=download)
    except (OSError, RuntimeError, EOFError) as error:
        raise UsageError(_explain(source, root, download, error)) from None


def _arrays(split: CIFAR10) -> Arrays:
    return split.data.transpose(0, 3, 1, 2), np.asarray(split.targets)


def _explain(source: type[CIFAR10], root: Path, download: bool, error: Exception) -> str:
    folder = root / source.base_folder
    if download:
        return f"dataset.root={root}: {source.__name__} could not be fetched into it ({error})"
    where = "type dataset.download=true to fetch it, or dataset.root=... to say where it is"
    if folder.is_dir():
        return (
            f"dataset.root={root}: {source.__name__} in {folder} is damaged; delete it and {where}"
        )
    return f"dataset.root={root}: {source.__name__} is not there (looked for {folder}); {where}"

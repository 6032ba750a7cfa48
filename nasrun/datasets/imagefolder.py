"""A user's own pictures in folders named after their classes, decoded once and held as uint8.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np

from nasrun.datasets.arrays import ArrayDataset, Arrays, balanced_rows
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.pictures import UNREADABLE, Pictures, centre, find, unreadable
from nasrun.errors import UsageError, raise_together
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import BatchSize, ImageSize, Meaning, NumImages, Pixels


def load_imagefolder(
    *,
    name: str,
    root: Annotated[str, Meaning("a folder with train and test (or val)")],
    size: ImageSize,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels | None,
    flip: bool,
    cutout_length: Pixels | None,
) -> Dataset:
    """`root`/train/<class>/* and `root`/test/<class>/* (or `root`/val): images_NCHW, uint8, RGB.

    Pictures are scaled so that the shorter side is `size`, and their centre is cut out.

    Raises:
        UsageError: names all that is wrong with the folder.
    """
    folder = Path(root).expanduser()
    classes, train, test = find(folder, ("test", "val"))
    if limit is not None:
        labels_N = np.array([label for _, label in train])
        train = [train[row] for row in balanced_rows(labels_N, limit, len(classes))]
    return ArrayDataset(
        name=name,
        train=_decode(folder, train, size),
        test=_decode(folder, test, size),
        num_classes=len(classes),
        batch_size=batch_size,
        limit=None,
        augmentation=Augmentation(
            size // 8 if crop_padding is None else crop_padding,
            flip,
            size // 2 if cutout_length is None else cutout_length,
        ),
    )


def _decode(root: Path, pictures: Pictures, size: int) -> Arrays:
    try:
        images_NCHW = np.empty((len(pictures), 3, size, size), dtype=np.uint8)
    except MemoryError:
        needed = len(pictures) * 3 * size**2 / 2**30
        text = f"{len(pictures):,} pictures need {needed:.0f} GB, more than there is"
        raise UsageError(f"dataset.size={size}: {text}; lower it, or set dataset.limit") from None

    def fill(row: int) -> str | None:
        file, _ = pictures[row]
        try:
            images_NCHW[row] = centre(file, size, size)
        except UNREADABLE as error:
            return unreadable(root, file, error)
        return None

    with ThreadPoolExecutor() as pool:  # decoders release the interpreter lock
        problems = list(pool.map(fill, range(len(pictures))))
    raise_together(problem for problem in problems if problem is not None)
    return images_NCHW, np.array([label for _, label in pictures])

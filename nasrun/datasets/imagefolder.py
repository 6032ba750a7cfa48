"""A user's own pictures in folders named after their classes, decoded once and held as uint8.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.datasets.arrays import ArrayDataset, Arrays, balanced_rows
from nasrun.datasets.augmentation import Augmentation
from nasrun.errors import UsageError, raise_together, require
from nasrun.protocols import Dataset

Pictures = list[tuple[str, int]]  # (file, label)


def load_imagefolder(
    *,
    name: str,
    root: str | None,
    size: int,
    batch_size: int,
    limit: int | None,
    crop_padding: int | None,
    flip: bool,
    cutout_length: int | None,
) -> Dataset:
    """`root`/train/<class>/* and `root`/test/<class>/* (or `root`/val): images_NCHW, uint8, RGB.

    Pictures are scaled so that the shorter side is `size`, and their centre is cut out.

    Raises:
        UsageError: names all that is wrong with the folder, or a key that is out of range.
    """
    require(root is not None, "dataset.root", "null", "a folder with train and test (or val)")
    require(type(size) is int and size > 0, "dataset.size", size, "a whole number of at least 1")
    folder = Path(str(root)).expanduser()
    classes, train, test = _find(folder)
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


def _find(root: Path) -> tuple[list[str], Pictures, Pictures]:
    """The class names and the labelled files of both parts, labels counted as in `train`."""
    from torchvision.datasets import ImageFolder

    parts = root / "train", root / "test" if (root / "test").is_dir() else root / "val"
    raise_together(
        f"dataset.root={root}: there is no folder {part}; the pictures must lie in "
        "train/<class>/ and in test/<class>/ or val/<class>/"
        for part in parts
        if not part.is_dir()
    )
    try:
        train, test = (ImageFolder(str(part)) for part in parts)
    except FileNotFoundError as error:  # no class folder, or one without a picture
        raise UsageError(f"dataset.root={root}: {_first_sentence(error)}") from None
    raise_together(f"dataset.root={root}: {text}" for text in _class_problems(train, test))
    label_of = [train.class_to_idx[name] for name in test.classes]
    return train.classes, train.samples, [(file, label_of[k]) for file, k in test.samples]


def _class_problems(train: Any, test: Any) -> Iterator[str]:
    if len(train.classes) < 2:
        yield f"train has the one class {train.classes[0]}; a classification needs two"
    for name in test.classes:
        if name not in train.class_to_idx:
            yield f"the class {name} has test pictures, but there is no folder train/{name}"
    for name, count in zip(train.classes, np.bincount(train.targets), strict=True):
        if count < 2:
            yield f"train/{name} has one picture; a search needs two (training, validation)"


def _decode(root: Path, pictures: Pictures, size: int) -> Arrays:
    try:
        images_NCHW = np.empty((len(pictures), 3, size, size), dtype=np.uint8)
    except MemoryError:
        needed = len(pictures) * 3 * size**2 / 2**30
        text = f"{len(pictures):,} pictures need {needed:.0f} GB, more than there is"
        raise UsageError(f"dataset.size={size}: {text}; lower it, or set dataset.limit") from None
    read = _reader(size)

    def fill(row: int) -> str | None:
        try:
            images_NCHW[row] = read(pictures[row][0])
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a bad file
            return f"dataset.root={root}: {pictures[row][0]} is not a readable picture ({error})"
        return None

    with ThreadPoolExecutor() as pool:  # decoders release the interpreter lock
        problems = list(pool.map(fill, range(len(pictures))))
    raise_together(problem for problem in problems if problem is not None)
    return images_NCHW, np.array([label for _, label in pictures])


def _reader(size: int) -> Callable[[str], np.ndarray]:
    """File -> pixels_CHW."""
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import functional

    def read(file: str) -> np.ndarray:
        scaled = functional.resize(pil_loader(file), [size])
        return np.asarray(functional.center_crop(scaled, [size])).transpose(2, 0, 1)

    return read


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")

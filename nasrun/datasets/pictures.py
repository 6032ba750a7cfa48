"""Pictures in folders named after their classes: how they are found, and how one is read.

Shapes: C channels, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasrun.errors import UsageError, raise_together

Pictures = list[tuple[str, int]]  # (file, label)

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whose endings torchvision looks for

# What Pillow raises for a bad file.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def find(root: Path, test_names: Sequence[str]) -> tuple[list[str], Pictures, Pictures]:
    """The class names and the labelled files of both parts, labels counted as in `train`.

    Args:
        test_names: folders beside `train` that may hold the test pictures; the first there wins.

    Raises:
        UsageError: names all that is wrong with the folders.
    """
    from torchvision.datasets import ImageFolder

    tests = [root / name for name in test_names]
    parts = root / "train", next((part for part in tests if part.is_dir()), tests[-1])
    layout = " or ".join(f"{name}/<class>/" for name in test_names)
    raise_together(
        f"dataset.root={root}: there is no folder {part}; the pictures must lie in "
        f"train/<class>/ and in {layout}"
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


def centre(file: str, scaled: int, size: int) -> np.ndarray:
    """pixels_CHW, uint8, RGB: the picture with its shorter side scaled to `scaled` pixels, and of
    that the `size` x `size` pixels in the middle.

    Raises:
        UNREADABLE: one of these.
    """
    from torchvision.transforms import functional

    picture = functional.resize(load(file), [scaled])
    return np.asarray(functional.center_crop(picture, [size])).transpose(2, 0, 1)


def load(file: str) -> Image.Image:
    """A picture in RGB, of the formats that are only data: PostScript, which Pillow knows by its
    content whatever a file is called, is a program.

    Raises:
        UNREADABLE: one of these.
    """
    if not os.path.isfile(file):  # a pipe would be waited for
        raise OSError("it is not a file")
    with Image.open(file, formats=FORMATS) as picture:
        return picture.convert("RGB")


def unreadable(root: Path, file: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"dataset.root={root}: {file} is not a readable picture ({reason})"


def _class_problems(train: Any, test: Any) -> Iterator[str]:
    if len(train.classes) < 2:
        yield f"train has the one class {train.classes[0]}; a classification needs two"
    for name in test.classes:
        if name not in train.class_to_idx:
            yield f"the class {name} has test pictures, but there is no folder train/{name}"
    for name, count in zip(train.classes, np.bincount(train.targets), strict=True):
        if count < 2:
            yield f"train/{name} has one picture; a search needs two (training, validation)"


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].rstrip(".")

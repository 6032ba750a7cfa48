"""Small made folders and files in the layouts of ImageNet and of downsampled ImageNet."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [(40, 30), (30, 50), (64, 64), (25, 25), (90, 33)]  # width, height
MODES = ["RGB", "RGB", "L", "RGB", "CMYK"]


def imagenet(root: Path, *, classes: int = 4, train: int = 20, val: int = 5) -> Path:
    """root/train/<wnid>/*.JPEG and root/val/<wnid>/*.JPEG: of several sizes, some grey, some CMYK;
    each class has a brightness of its own, and its own number of bright stripes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(count):
                width, height = SIZES[number % len(SIZES)]
                stripes = (np.arange(width) * (label + 1) * 2 // width) % 2 * 60
                pixels = (
                    stripes[None, :, None] + 40 * label + rng.integers(0, 30, (height, width, 3))
                )
                image = Image.fromarray(pixels.astype(np.uint8)).convert(MODES[number % len(MODES)])
                image.save(folder / f"{part}_{number}.JPEG")
    return root


def imagenet16(folder: Path, *, per_class: int = 3, test_per_class: int = 1) -> Path:
    """train_data_batch_1 to _10 and val_data, with labels from 1 on, 30 of which do not count."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(1, 151), per_class))
    for number, part in enumerate(np.array_split(labels, 10), start=1):
        write_imagenet16(folder / f"train_data_batch_{number}", part, rng)
    write_imagenet16(folder / "val_data", np.repeat(np.arange(1, 151), test_per_class), rng)
    return folder


def write_imagenet16(path: Path, labels: np.ndarray, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (len(labels), 3 * 16 * 16), dtype=np.uint8)
    content = {"data": images, "labels": labels.tolist(), "mean": images.mean(0)}
    path.write_bytes(pickle.dumps(content))

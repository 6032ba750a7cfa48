"""Made images that a small network learns in seconds: for tests and for trying things out."""

from __future__ import annotations

import numpy as np

from nasrun.compute.memory import require_memory
from nasrun.datasets.arrays import CHUNK, ArrayDataset, Arrays
from nasrun.datasets.augmentation import Augmentation
from nasrun.errors import require
from nasrun.protocols.data import Dataset

PATCHES = 4  # a pattern is a coarse grid of 4 x 4 grey values, so that it survives a small shift
CONTRAST = 48.0  # standard deviation of the patterns, in raw values around 128


def make_synthetic(
    *,
    name: str,
    num_train: int,
    num_test: int,
    size: int,
    channels: int,
    num_classes: int,
    noise: float,
    seed: int,
    batch_size: int,
    limit: int | None,
    crop_padding: int,
    flip: bool,
    cutout_length: int,
) -> Dataset:
    """One random pattern per class plus Gaussian noise: images_NCHW, uint8.

    Args:
        noise: standard deviation in raw values (0 to 255).
        seed: of the patterns and the noise; not the seed of the run.

    Raises:
        UsageError: a key is out of range.
    """
    for key, value, least in (
        ("num_train", num_train, 2 * num_classes),
        ("num_test", num_test, 1),
        ("size", size, 1),
        ("channels", channels, 1),
        ("num_classes", num_classes, 2),
        ("seed", seed, 0),
    ):
        allowed = f"a whole number of at least {least}"
        require(type(value) is int and value >= least, f"dataset.{key}", value, allowed)
    num_bytes = 2 * (num_train + num_test) * channels * size**2  # a dataset.limit makes a copy
    require_memory(num_bytes, f"dataset.num_train={num_train} and dataset.size={size}")
    require(0 <= noise < float("inf"), "dataset.noise", noise, "a number of at least 0")
    rng = np.random.default_rng(seed)
    coarse_KCPP = rng.normal(128, CONTRAST, (num_classes, channels, PATCHES, PATCHES))
    nearest_S = np.arange(size) * PATCHES // size
    patterns_KCHW = coarse_KCPP[:, :, nearest_S][:, :, :, nearest_S]
    return ArrayDataset(
        name=name,
        train=_draw(num_train, patterns_KCHW, noise, rng),
        test=_draw(num_test, patterns_KCHW, noise, rng),
        num_classes=num_classes,
        batch_size=batch_size,
        limit=limit,
        augmentation=Augmentation(crop_padding, flip, cutout_length),
    )


def _draw(
    num_images: int, patterns_KCHW: np.ndarray, noise: float, rng: np.random.Generator
) -> Arrays:
    labels_N = np.arange(num_images) % len(patterns_KCHW)
    images_NCHW = np.empty((num_images, *patterns_KCHW.shape[1:]), dtype=np.uint8)
    for start in range(0, num_images, CHUNK):
        clean_BCHW = patterns_KCHW[labels_N[start : start + CHUNK]]
        noisy_BCHW = clean_BCHW + noise * rng.normal(size=clean_BCHW.shape)
        images_NCHW[start : start + CHUNK] = noisy_BCHW.round().clip(0, 255)
    return images_NCHW, labels_N

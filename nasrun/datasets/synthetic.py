"""Make images that a small network learns in seconds, for tests and for trying things out."""

from __future__ import annotations

import numpy as np

from nasrun.compute.memory import require_memory
from nasrun.datasets.arrays import CHUNK, ArrayDataset, Arrays
from nasrun.datasets.augmentation import Augmentation
from nasrun.errors import require
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import (
    BatchSize,
    Channels,
    ImageSize,
    NotNegative,
    NumClasses,
    NumImages,
    Pixels,
    Seed,
)

PATCHES = 4  # a pattern is a coarse grid of 4 x 4 grey values, so that it survives a small shift
CONTRAST = 48.0  # standard deviation of the patterns, in raw values around 128


def make_synthetic(
    *,
    name: str,
    num_train: NumImages,
    num_test: NumImages,
    size: ImageSize,
    channels: Channels,
    num_classes: NumClasses,
    noise: NotNegative,
    seed: Seed,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels,
    flip: bool,
    cutout_length: Pixels,
) -> Dataset:
    """Draw one random pattern per class, and add Gaussian noise: images_NCHW, uint8.

    Args:
        noise: standard deviation in raw values (0 to 255).
        seed: of the patterns and the noise; not the seed of the run.

    Raises:
        UsageError: there are too few images for the classes, or too many for the memory.
    """
    least = 2 * num_classes
    require(num_train >= least, "dataset.num_train", num_train, f"at least {least}, two per class")
    num_bytes = 2 * (num_train + num_test) * channels * size**2  # a dataset.limit makes a copy
    require_memory(num_bytes, f"dataset.num_train={num_train} and dataset.size={size}")
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

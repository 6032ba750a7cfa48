"""Load handwritten digits: 1,797 real images, 8x8, that come with scikit-learn.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

from __future__ import annotations

import numpy as np

from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.augmentation import Augmentation
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import BatchSize, NumImages, Pixels

NUM_TEST = (
    360  # the last ones; mostly other writers than the rest, so that the figure means something
)


def load_digits(
    *,
    name: str,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels,
    cutout_length: Pixels,
) -> Dataset:
    """Load images_NCHW, uint8 with the original values 0 to 16, 1 x 8 x 8; never mirrored.

    Raises:
        UsageError: `limit` leaves fewer than two images of a class.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images_NCHW = digits.images[:, None].astype(np.uint8)
    labels_N = digits.target
    return ArrayDataset(
        name=name,
        train=(images_NCHW[:-NUM_TEST], labels_N[:-NUM_TEST]),
        test=(images_NCHW[-NUM_TEST:], labels_N[-NUM_TEST:]),
        num_classes=10,
        batch_size=batch_size,
        limit=limit,
        augmentation=Augmentation(crop_padding, flip=False, cutout_length=cutout_length),
        white=16.0,
    )

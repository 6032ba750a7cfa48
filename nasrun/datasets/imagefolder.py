"""Load a user's pictures from folders named after their classes; keep them decoded, as uint8.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from nasrun.compute.memory import require_memory
from nasrun.datasets.arrays import ArrayDataset, Arrays
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.folders import Pictures, find, find_and_split
from nasrun.datasets.pictures import MAX_PIXELS, UNREADABLE, centre, unreadable
from nasrun.errors import raise_together
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import (
    BatchSize,
    ImageSize,
    Location,
    MaxPixels,
    Meaning,
    NumImages,
    Pixels,
    Seed,
)

TEST_NAMES = ("test", "val")
NUM_SHOWN = 5  # of pictures that cannot be read
DIM = 32  # the largest value is below this in pictures of 12 bits stored as if they had 16


def load_imagefolder(
    *,
    name: str,
    root: Annotated[
        str,
        Meaning("a folder with train and test (or val), or with a folder per class"),
        Location("folder"),
    ],
    size: ImageSize,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels | None,
    flip: bool,
    cutout_length: Pixels | None,
    max_pixels: MaxPixels = MAX_PIXELS,  # runs of earlier versions have no such keys
    test_share: Annotated[float, Interval(gt=0, lt=1)] | None = None,
    split_seed: Seed = 0,
) -> Dataset:
    """Load `root`/train/<class>/* and `root`/test/<class>/* (or `root`/val).

    With `test_share` the pictures lie in `root`/<class>/* or `root`/train/<class>/*, and that share
    of each class is kept for the test; `split_seed` says which, whatever the seed of the run.

    The images are images_NCHW, uint8, RGB. Pictures are scaled so that the shorter side is `size`,
    and their centre is cut out.

    Raises:
        UsageError: names all that is wrong with the folder.
    """
    folder = Path(root).expanduser()
    if test_share is None:
        found = find(folder, TEST_NAMES, limit)
    else:
        found = find_and_split(folder, TEST_NAMES, limit, test_share, split_seed)
    num_pictures = len(found.train) + len(found.test)
    what = f"{num_pictures:,} pictures of dataset.size={size} (lower it, or set dataset.limit)"
    require_memory(num_pictures * 3 * size**2, what)
    lost: Counter[str] = Counter()
    parts = found.train, found.test
    arrays = [_decode(folder, pictures, size, max_pixels, lost) for pictures in parts]
    return ArrayDataset(
        name=name,
        train=arrays[0],
        test=arrays[1],
        num_classes=len(found.classes),
        batch_size=batch_size,
        limit=None,
        augmentation=Augmentation(
            size // 8 if crop_padding is None else crop_padding,
            flip,
            size // 2 if cutout_length is None else cutout_length,
        ),
        class_names=found.classes,
        counted=True,
        notes=[*found.notes, *_quality(arrays[0][0], lost)],
    )


def _decode(
    root: Path, pictures: Pictures, size: int, max_pixels: int, lost: Counter[str]
) -> Arrays:
    """Decode pictures; count in `lost` how many of them lose what."""
    images_NCHW = np.empty((len(pictures), 3, size, size), dtype=np.uint8)

    def fill(row: int) -> tuple[str, ...] | str:
        file, _ = pictures[row]
        try:
            images_NCHW[row], losses = centre(file, size, size, max_pixels)
        except UNREADABLE as error:
            return unreadable(root, file, error)
        return losses

    with ThreadPoolExecutor() as pool:  # decoders release the interpreter lock
        outcomes = list(pool.map(fill, range(len(pictures))))
    problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
    more = len(problems) - NUM_SHOWN
    problems[NUM_SHOWN:] = [f"dataset.root={root}: and {more:,} more like these"] * (more > 0)
    raise_together(problems)
    lost.update(loss for outcome in outcomes if not isinstance(outcome, str) for loss in outcome)
    return images_NCHW, np.array([label for _, label in pictures])


def _quality(images_NCHW: np.ndarray, lost: Counter[str]) -> Iterator[str]:
    for loss, count in lost.items():
        yield f"warning: {count:,} pictures {loss}"
    if (brightest := int(images_NCHW.max())) < DIM:
        yield (
            f"warning: no value of the training pictures is above {brightest} of 255: where they "
            "have 12 bits in files of 16, scale them to 0 to 65535"
        )

"""Load ImageNet in its folder layout, or any pictures in the same one.

Source: Russakovsky et al., IJCV 2015. The official validation pictures are the test set. A search
sees none of them: it trains and validates on small shares of the training pictures, as in PC-DARTS
(arXiv 1907.05737).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval, Len

from nasrun.compute import torchrun
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.counts import class_counts
from nasrun.datasets.decoding import SCALED, Decoder, Framing, PictureSplit
from nasrun.datasets.faint import faint_channels
from nasrun.datasets.folders import Found, Pictures, find
from nasrun.datasets.images import ChannelStatistics, ImageDataset
from nasrun.datasets.pictures import MAX_PIXELS, UNREADABLE
from nasrun.errors import require
from nasrun.protocols.data import Dataset, TaskShape
from nasrun.protocols.settings import (
    BatchSize,
    ImageSize,
    Location,
    MaxPixels,
    Meaning,
    NumImages,
    Pixels,
    PositiveShare,
    Probability,
)

STATISTICS: ChannelStatistics = (  # as torchvision gives them, in raw values
    [123.675, 116.28, 103.53],
    [58.395, 57.12, 57.375],
)
NUM_LOOKED_AT = 32  # pictures, evenly over the classes, to see whether a conversion went wrong
JITTER = "[brightness, contrast, saturation, hue], each 0 to 1"


class PictureDataset(ImageDataset):
    """A `Dataset` whose pictures are decoded when they are needed.

    Flips and cutout are made on the device, crops and colours by the workers, who have the whole
    picture.
    """

    def __init__(self, *, train: PictureSplit, test: PictureSplit, **about: Any) -> None:
        super().__init__(**about)
        self.train = train
        self.test = test

    def fingerprint(self) -> str:
        """Return the SHA-256 of size, names and labels; to read all pictures would take an hour."""
        digest = hashlib.sha256(str(self.shape).encode())
        for split in (self.train, self.test):
            rows_N = split.rows_N.numpy()
            digest.update(b"\0".join(split.decoder.files_N[rows_N].tolist()))
            digest.update(split.labels_N.numpy().data)
        return digest.hexdigest()


def load_imagenet(
    *,
    name: str,
    root: Annotated[str, Meaning("a folder with train and val"), Location("folder")],
    image_size: ImageSize,
    search_train: Annotated[float, Interval(gt=0, lt=1)],
    search_validation: Annotated[float, Interval(gt=0, lt=1)],
    workers: Annotated[int, Interval(ge=0, le=1_000)] | None,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_area: PositiveShare,
    colour_jitter: Annotated[list[Probability], Meaning(JITTER), Len(4, 4)],
    flip: bool,
    cutout_length: Pixels | None,
    max_pixels: MaxPixels = MAX_PIXELS,  # runs of earlier versions have no such key
) -> Dataset:
    """Load `root`/train/<class>/* and `root`/val/<class>/*.

    The images are uint8, RGB, 3 x `image_size` x `image_size`.

    Raises:
        UsageError: names all that is wrong with the folders. A picture that cannot be read is found
            when it is decoded.
    """
    framing = Framing(image_size, crop_area, tuple(colour_jitter), max_pixels)
    shares = (search_train, search_validation)
    rest = "a share above 0 of what dataset.search_train leaves"
    require(sum(shares) <= 1, "dataset.search_validation", search_validation, rest)
    folder = Path(root).expanduser().absolute()
    found = find(folder, ("val",), limit)
    workers = _num_workers() if workers is None else workers

    def split(pictures: Pictures) -> PictureSplit:
        files_N = np.array([os.fsencode(file.removeprefix(f"{folder}/")) for file, _ in pictures])
        decoder = Decoder(folder, files_N, framing)
        return PictureSplit(
            decoder, torch.tensor(_labels(pictures)), torch.arange(len(pictures)), shares, workers
        )

    return PictureDataset(
        train=split(found.train),
        test=split(found.test),
        name=name,
        shape=TaskShape(3, (image_size, image_size), len(found.classes)),
        batch_size=batch_size,
        augmentation=Augmentation(
            0, flip, image_size // 2 if cutout_length is None else cutout_length
        ),
        statistics=STATISTICS,
        dtype=torch.uint8,
        class_names=found.classes,
        white=255.0,
        scaled=round(SCALED * image_size),
        notes=[*_counts(found), *found.notes, *_faint(split(found.train).decoder)],
    )


def _faint(decoder: Decoder) -> Iterator[str]:
    """Say where channels of the training pictures hardly vary, as far as a few of them tell.

    A picture that cannot be read is passed over: it is named when it is needed.
    """
    images = []
    places = np.linspace(0, len(decoder.files_N) - 1, NUM_LOOKED_AT)
    for row in np.unique(places.astype(int)).tolist():
        with suppress(*UNREADABLE):
            images.append(decoder.framing.middle(decoder.file(row)))
    if images:
        images_BCHW = torch.stack(images)
        deviation_C = images_BCHW.double().std(dim=(0, 2, 3), correction=0).tolist()
        which = f"the {len(images)} training images that were looked at"
        yield from faint_channels([images_BCHW], deviation_C, which=which)


def _counts(found: Found) -> Iterator[str]:
    return class_counts(found.classes, _labels(found.train), _labels(found.test))


def _num_workers() -> int:
    """Return this process's share of the cores."""
    return max(1, len(os.sched_getaffinity(0)) // torchrun.num_local_processes())


def _labels(pictures: Pictures) -> list[int]:
    return [label for _, label in pictures]

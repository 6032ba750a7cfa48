"""Hold labelled images or signals that fit in memory: the base of most datasets of this folder.

Shapes: N inputs, M and B some of them, C channels, H height, W width; signals are NCL wherever
images are NCHW.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor

from nasrun.compute.transfers import upload
from nasrun.datasets.counts import class_counts
from nasrun.datasets.faint import faint_channels
from nasrun.datasets.images import ChannelStatistics, ImageDataset, RandomChanges, Resident
from nasrun.errors import require
from nasrun.protocols.data import Balance, Batch, MetricName, TaskShape

MAX_DEVICE_BYTES = 4 * 2**30  # a larger set stays on the host and travels batch by batch
CHUNK = 1024  # images that are converted to float64 at a time

Arrays: TypeAlias = tuple[np.ndarray, np.ndarray]
"""images_NCHW or signals_NCL, uint8 or floating; labels_N, integers in [0, K)."""


class TensorSplit:
    """A `Split`: some rows of a tensor of images. Subsets share the images and their copies.

    Args:
        images: images_NCHW or signals_NCL, uint8 or float32.
        labels_M: int64, one per row.
        rows_M: int64, which images are in the split, in this order.
        groups_M: int64, one per row: inputs that belong together, see `Split`.
    """

    search_shares = (0.5, 0.5)

    def __init__(
        self, images: Resident, labels_M: Tensor, rows_M: Tensor, groups_M: Tensor | None = None
    ) -> None:
        self.labels_N = labels_M
        self.groups_N = groups_M
        self.images = images
        self._rows_N = rows_M

    def __len__(self) -> int:
        return len(self.labels_N)

    def subset(self, indices_M: Tensor) -> TensorSplit:
        groups_M = None if self.groups_N is None else self.groups_N[indices_M]
        rows_M = self._rows_N[indices_M]
        return TensorSplit(self.images, self.labels_N[indices_M], rows_M, groups_M)

    def batches(
        self, order_M: Tensor, batch_size: int, device: torch.device, crops: Generator | None = None
    ) -> Iterator[Batch]:
        """Yield (images_BCHW raw, labels_B int64) on the device; the last batch may be smaller.

        `crops` is not needed: whole images are here, for `augment` to crop.
        """
        fits = self.images.tensor.nbytes <= MAX_DEVICE_BYTES
        images_NCHW = self.images.on(device) if fits else self.images.tensor
        rows_M = upload(self._rows_N[order_M], images_NCHW.device)
        labels_M = upload(self.labels_N[order_M], device)
        for start in range(0, len(order_M), batch_size):
            rows_B = rows_M[start : start + batch_size]
            images_BCHW = upload(images_NCHW.index_select(0, rows_B), device)
            yield images_BCHW, labels_M[start : start + batch_size]


class ArrayDataset(ImageDataset):
    """A `Dataset` made of arrays; the loaders of this folder return one.

    Args:
        name: as in `conf/dataset/`.
        train, test: images_NCHW or signals_NCL (uint8, or floating, which becomes float32), and
            labels_N.
        num_classes: K.
        batch_size: the default size of a training batch.
        limit: keep at most so many training images (see `balanced_rows`); `None` keeps all.
        augmentation: crops, flips and cutout that suit the data.
        statistics: of the raw values, where there are official ones; otherwise they are computed
            from the training images.
        class_names: in the order of the labels; their numbers where there are no names.
        white: see `ImageDataset`; 255 for uint8 unless it is given.
        counted: whether the images of each class are counted in the notes.
        balance, metric: see `Dataset`.
        train_groups: integers_N, where training inputs belong together, see `Split`.
        notes: see `ImageDataset`; whether a channel is nearly constant is added to them.

    Raises:
        UsageError: `limit` leaves fewer than two images of a class.
    """

    def __init__(
        self,
        *,
        name: str,
        train: Arrays,
        test: Arrays,
        num_classes: int,
        batch_size: int,
        limit: int | None,
        augmentation: RandomChanges,
        statistics: ChannelStatistics | None = None,
        class_names: Sequence[str] | None = None,
        white: float | None = None,
        counted: bool = False,
        balance: Balance = Balance(),  # noqa: B008 - a value
        metric: MetricName = "accuracy",
        train_groups: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if limit is not None:
            kept_M = balanced_rows(train[1], limit, num_classes)
            train = (train[0][kept_M], train[1][kept_M])
            train_groups = None if train_groups is None else train_groups[kept_M]
        self.train = _split(*train, train_groups)
        self.test = _split(*test)
        images_NCHW = self.train.images.tensor
        channels, *size = images_NCHW.shape[1:]
        shape = TaskShape(channels, tuple(size), num_classes)
        if counted and class_names is not None:
            labels, test_labels = self.train.labels_N.numpy(), self.test.labels_N.numpy()
            notes = [*class_counts(class_names, labels, test_labels, shape.kind), *notes]
        if statistics is None:
            statistics = channel_statistics(images_NCHW)
            chunks = torch.split(images_NCHW, CHUNK)
            notes = [*notes, *faint_channels(chunks, statistics[1], shape.kind)]
        super().__init__(
            name=name,
            shape=shape,
            batch_size=batch_size,
            augmentation=augmentation,
            statistics=statistics,
            dtype=images_NCHW.dtype,
            class_names=class_names,
            balance=balance,
            metric=metric,
            white=255.0 if white is None and images_NCHW.dtype == torch.uint8 else white,
            notes=notes,
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 of shapes, dtypes and values of all images and labels in use."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for tensor in (split.images.tensor, split.labels_N):
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
                digest.update(tensor.numpy().data)
        return digest.hexdigest()


def balanced_rows(labels_N: np.ndarray, limit: int, num_classes: int) -> np.ndarray:
    """Return the places of the images that a limit keeps, ascending.

    They are the first of each class, in numbers as equal as the classes allow. A smaller limit
    keeps a subset of what a larger one keeps.

    Raises:
        UsageError: `limit` is less than two per class (a search halves the training images).
    """
    least = 2 * num_classes
    allowed = f"null or a whole number of at least {least} (two per class)"
    require(limit >= least, "dataset.limit", limit, allowed)
    # the place of each image in its class: its place by class, less that of the first
    by_class_N = np.argsort(labels_N, kind="stable")
    first_of_class_N = np.searchsorted(labels_N[by_class_N], labels_N[by_class_N])
    place_in_class_N = np.empty(len(labels_N), dtype=np.int64)
    place_in_class_N[by_class_N] = np.arange(len(labels_N)) - first_of_class_N
    return np.sort(np.argsort(place_in_class_N, kind="stable")[:limit])


def channel_statistics(images_NCHW: Tensor) -> ChannelStatistics:
    """Return (mean_C, deviation_C) over images and pixels, or samples of signals, in float64.

    The deviation of a constant channel is given as 1, so that one can divide by it.
    """
    chunks = torch.split(images_NCHW, CHUNK)
    num_pixels = images_NCHW[:, 0].numel()
    # a chunk of images at a time: all of them would take up to eight times their memory
    spatial = tuple(range(2, images_NCHW.dim()))
    mean_C = torch.stack([chunk.double().sum((0, *spatial)) for chunk in chunks]).sum(0)
    mean_C = mean_C / num_pixels
    broadcast = mean_C.view(-1, *[1] * len(spatial))
    centred = (chunk.double() - broadcast for chunk in chunks)
    squares_C = torch.stack([chunk.square().sum((0, *spatial)) for chunk in centred]).sum(0)
    # in a second pass: the mean square less the squared mean would lose digits
    deviation_C = (squares_C / num_pixels).sqrt()
    return mean_C.tolist(), torch.where(deviation_C > 0, deviation_C, 1.0).tolist()


def _split(
    images_NCHW: np.ndarray, labels_N: np.ndarray, groups_N: np.ndarray | None = None
) -> TensorSplit:
    dtype = np.uint8 if images_NCHW.dtype == np.uint8 else np.float32
    images = torch.from_numpy(np.ascontiguousarray(images_NCHW, dtype=dtype))
    labels = torch.from_numpy(np.ascontiguousarray(labels_N, dtype=np.int64))
    groups = None if groups_N is None else torch.from_numpy(groups_N.astype(np.int64))
    return TensorSplit(Resident(images), labels, torch.arange(len(labels)), groups)

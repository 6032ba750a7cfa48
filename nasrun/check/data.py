"""Look through the data of a rehearsal once, then pass over it in few batches.

Shapes: B batch, C channels, H height, W width, N images of a split, M some of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from nasrun.check.clock import Clock
from nasrun.protocols.data import Batch, Dataset, Split, TaskShape

NUM_KEPT = 2  # batches of a pass, besides its last one: the first may have to wait for others
LOOK_S = 5.0  # at most, at each split
LOOK_BATCH = 256


class FewBatches:
    """A `Split` of which each pass has its first batches and its last one.

    What the others would have taken, from being asked for to the next one, goes on the clock; all
    else is as it is.
    """

    def __init__(self, split: Split, clock: Clock) -> None:
        self.labels_N = split.labels_N
        self.search_shares = split.search_shares
        self.groups_N = split.groups_N
        self._split = split
        self._clock = clock

    def __len__(self) -> int:
        return len(self._split)

    def subset(self, indices_M: Tensor) -> FewBatches:
        return FewBatches(self._split.subset(indices_M), self._clock)

    def batches(
        self, order_M: Tensor, batch_size: int, device: torch.device, crops: Generator | None = None
    ) -> Iterator[Batch]:
        parts = torch.split(order_M, batch_size)
        kept = parts if len(parts) <= NUM_KEPT + 1 else (*parts[:NUM_KEPT], parts[-1])
        num_skipped = len(order_M) - sum(map(len, kept))
        seconds, num_images = 0.0, 0
        started = time.perf_counter()
        for position, batch in enumerate(
            self._split.batches(torch.cat(kept), batch_size, device, crops)
        ):
            yield batch
            ended = time.perf_counter()
            # the first batch may have had to wait, and is no measure of the others
            if position > 0:
                seconds, num_images = seconds + ended - started, num_images + len(batch[1])
            started = ended
        if num_skipped > 0:
            self._clock.skip(seconds * num_skipped / num_images)


class ShortDataset:
    """A `Dataset` whose splits are `FewBatches`."""

    def __init__(self, dataset: Dataset, clock: Clock) -> None:
        self.whole = dataset
        self.train = FewBatches(dataset.train, clock)
        self.test = FewBatches(dataset.test, clock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


def faults(dataset: Dataset, *, cutout: bool) -> Iterator[str]:
    """Yield what is wrong with the images and labels of both splits.

    The images are looked at as far as there is time, and so is what augmentation leaves of a batch.
    """
    for name in ("test", "train"):
        split: Split = getattr(dataset, name)
        if len(split) == 0:
            yield f"dataset {dataset.name}: its {name} split has no {dataset.shape.kind}"
        else:
            yield from _split_faults(f"dataset {dataset.name}, {name} split", split, dataset.shape)
    if len(dataset.train) > 0:
        yield from _augmentation_faults(dataset, cutout)


def _split_faults(where: str, split: Split, shape: TaskShape) -> Iterator[str]:
    """Yield the first fault of each kind."""
    highest = int(split.labels_N.max())
    if int(split.labels_N.min()) < 0 or highest >= shape.num_classes:
        yield (
            f"{where}: labels go from {int(split.labels_N.min())} to {highest}, and there are "
            f"{shape.num_classes} classes, 0 to {shape.num_classes - 1}: mend the labels"
        )
    expected, noun = (shape.channels, *shape.size), shape.kind.removesuffix("s")
    started, first = time.monotonic(), 0
    for raw_BCHW, _ in split.batches(torch.arange(len(split)), LOOK_BATCH, torch.device("cpu")):
        wanted, found = (
            " x ".join(map(str, size)) for size in (expected, tuple(raw_BCHW.shape[1:]))
        )
        if found != wanted:
            yield f"{where}: {noun} {first} is {found}, and the networks are made for {wanted}"
            return
        finite_B = torch.isfinite(raw_BCHW).flatten(1).all(dim=1)
        if not finite_B.all():
            bad = first + int((~finite_B).nonzero()[0])
            yield f"{where}: {noun} {bad} has NaN or infinite values: leave it out, or mend it"
            return
        first += len(raw_BCHW)
        if time.monotonic() - started > LOOK_S:
            return


def _augmentation_faults(dataset: Dataset, cutout: bool) -> Iterator[str]:
    """Yield a fault where crops and cutout leave nothing to be seen in most images."""
    generator = Generator().manual_seed(0)
    order_M = torch.randperm(len(dataset.train), generator=generator)[:LOOK_BATCH]
    batches = dataset.train.batches(order_M, len(order_M), torch.device("cpu"), generator)
    raw_BCHW, _ = next(iter(batches))
    moved = "crop_padding" if dataset.shape.kind == "images" else "shift"
    keys = [f"dataset.{moved}"] + ["dataset.cutout_length"] * cutout
    before = _share_of_blank(raw_BCHW)
    after = _share_of_blank(dataset.augment(raw_BCHW, generator, cutout))
    if after > max(0.5, before):
        yield (
            f"{after:.0%} of the training {dataset.shape.kind} are blank after augmentation: lower "
            f"{' or '.join(keys)}"
        )


def _share_of_blank(images_BCHW: Tensor) -> float:
    pixels_BCP = images_BCHW.flatten(2)
    blank_B = (pixels_BCP.amax(dim=2) == pixels_BCP.amin(dim=2)).all(dim=1)
    return float(blank_B.double().mean())

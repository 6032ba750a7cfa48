"""Draw endless random batches of a split, and halve the training data for a search.

Deviation: an incomplete last batch is left out, where papers use it; batch norm needs batches of
like size. Which images are left out differs from pass to pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasrun.compute.device import LEAST_PART, Device
from nasrun.compute.process_group import Share
from nasrun.errors import UsageError
from nasrun.protocols.data import Batch, Dataset, Split
from nasrun.training.balance import drawn_order

NUM_CHOICES = 200  # of the groups that are held out, of which the best is taken


class BatchStream:
    """Endless random batches of a split: shuffled, augmented, normalised, on the device.

    The state (order, position) and the two generators make it resumable in the middle of a pass.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        device: Device,
        generator: torch.Generator,
        *,
        augment: bool,
        cutout: bool = False,
    ) -> None:
        self.dataset = dataset
        self.split = split
        self._device = device
        self._generator = generator
        self._augment = augment
        self._cutout = cutout
        self._order_N = torch.empty(0, dtype=torch.int64)
        self._position = 0

    def __len__(self) -> int:
        return len(self.split)

    def num_batches(self, batch_size: int) -> int:
        return max(1, len(self.split) // batch_size)

    def size_of_batch(self, batch_size: int) -> int:
        """Return the batch size, or the number of images where there are fewer."""
        return min(batch_size, len(self.split))

    def one_pass(self, batch_size: int) -> Iterator[Batch]:
        """Yield every image once in a new order, in batches of like size.

        Where the dataset asks for balanced batches, images are drawn with replacement instead.

        An incomplete last batch is left out, since batch norm needs batches of like size; which
        images that are differs from pass to pass. A process of a group gets its share of each
        batch.
        """
        balance = self.dataset.balance
        order_N = (
            drawn_order(self.split.labels_N, balance.strength, self._generator)
            if balance.kind == "balanced_batches"
            else self._shuffle()
        )
        num_batches, size = self.num_batches(batch_size), self.size_of_batch(batch_size)
        rows = self._device.group.share(size)
        order_TB = order_N[: num_batches * size].view(num_batches, size)
        share_M = order_TB[:, rows.start : rows.stop].flatten()
        yield from self._load(share_M, len(rows), Share(rows, size))

    def take(self, num_images: int) -> Batch:
        """Take the next images, one pass after the other; at most the whole split."""
        (batch,) = self.take_apart([num_images])
        return batch

    def take_apart(self, sizes: Sequence[int]) -> list[Batch]:
        """Take batches of which no two share an image, all out of one pass over the split.

        Sizes are cut where the split has too few images, see `cut_to_fit`. A pass that has too few
        images left is given up for a new one.
        """
        sizes = cut_to_fit(sizes, len(self.split))
        total = sum(sizes)
        if self._position + total > len(self._order_N):
            self._order_N = self._shuffle()
            self._position = 0
        order = self._order_N[self._position : self._position + total]
        self._position += total
        images_BCHW, labels_B = next(self._load(order, total, None))
        parts = (torch.split(part, sizes) for part in (images_BCHW, labels_B))
        return list(zip(*parts, strict=True))

    def _shuffle(self) -> Tensor:
        return torch.randperm(len(self.split), generator=self._generator)

    def _load(self, order_M: Tensor, batch_size: int, share: Share | None) -> Iterator[Batch]:
        batches = self.split.batches(
            order_M, batch_size, self._device.torch, self._generator if self._augment else None
        )
        for raw_BCHW, labels_B in batches:
            if self._augment:
                raw_BCHW = self.dataset.augment(raw_BCHW, self._generator, self._cutout, share)
            yield self._device.images(self.dataset.normalise(raw_BCHW)), labels_B

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order_N.clone(), "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        order_N = state["order"].clone()
        if len(order_N) > 0 and sorted(order_N.tolist()) != list(range(len(self.split))):
            raise ValueError(f"the order of {len(self.split)} images is another one")
        if not 0 <= state["position"] <= len(order_N):
            raise ValueError(f"there is no place {state['position']} among {len(order_N)} images")
        self._order_N, self._position = order_N, state["position"]


def cut_to_fit(sizes: Sequence[int], num_images: int) -> list[int]:
    """Cut the sizes of batches that share no image, in proportion, to what there is.

    >>> cut_to_fit([256, 512], 719)
    [239, 479]

    A batch has two images at least; of more batches than that allows, the first are left out.
    """
    sizes = list(sizes)[-max(1, num_images // 2) :]
    total = sum(sizes)
    if total <= num_images:
        return sizes
    # two images for each, and the rest in proportion
    rest = num_images - 2 * len(sizes)
    return [2 + (size - 2) * rest // (total - 2 * len(sizes)) for size in sizes]


def require_shares(size: int, num_processes: int, key: str) -> None:
    """Raise a `UsageError` unless each process gets enough images of a batch for batch norm."""
    if size // num_processes < LEAST_PART:
        raise UsageError(
            f"{num_processes} processes cannot share a batch of {size} images: each needs "
            f"{LEAST_PART}; start fewer with torchrun, or take larger batches ({key})"
        )


def num_of_halves(split: Split) -> tuple[int, int]:
    """Return how many images a search trains on, and validates on.

    Of small sets it is one image of each class at least.
    """
    num_images = len(split)
    num_classes = len(np.unique(split.labels_N.numpy()))
    train_share, validation_share = split.search_shares
    num_train = max(num_classes, math.floor(train_share * num_images))
    num_validation = max(num_classes, math.ceil(validation_share * num_images))
    return num_train, min(num_validation, num_images - num_train)


def halves(split: Split, rng: np.random.Generator) -> tuple[Split, Split]:
    """Split training data into what a search trains and what it validates on.

    They are halves of the split, or the shares that it names itself. Each class has the same share
    of both, and no image is in both. Where inputs belong to groups, no group is in both, and the
    shares of the classes are as near as the groups allow.

    Raises:
        UsageError: there are too few groups.
    """
    if split.groups_N is not None:
        return apart(split, split.search_shares[1], rng)
    from sklearn.model_selection import train_test_split  # half a second to import

    labels_N = split.labels_N.numpy()
    num_train, num_validation = num_of_halves(split)
    train, validation = train_test_split(
        np.arange(len(labels_N)),
        train_size=num_train,
        test_size=num_validation,
        stratify=labels_N,
        random_state=int(rng.integers(2**32)),
    )
    return split.subset(torch.from_numpy(train)), split.subset(torch.from_numpy(validation))


def apart(split: Split, share: float, rng: np.random.Generator) -> tuple[Split, Split]:
    """Hold whole groups out of a split: return what is left, and about a `share` of the inputs.

    Of many random choices of groups it is the one in which the shares of the classes that are held
    out come nearest to `share`, and so a class that few groups have is on both sides.

    Raises:
        UsageError: there is one group only.
    """
    assert split.groups_N is not None
    groups, group_N = np.unique(split.groups_N.numpy(), return_inverse=True)
    if len(groups) < 2:
        raise UsageError(
            "all training inputs belong to one group (a patient), and a search validates on other "
            "groups than it trains on: add records"
        )
    labels_N = split.labels_N.numpy()
    counts_GK = np.zeros((len(groups), int(labels_N.max()) + 1))
    np.add.at(counts_GK, (group_N, labels_N), 1)
    shares_GK = counts_GK / np.maximum(counts_GK.sum(axis=0), 1)
    num_held_out = min(max(1, round(share * len(groups))), len(groups) - 1)
    choices = [rng.permutation(len(groups))[:num_held_out] for _ in range(NUM_CHOICES)]
    there_K = counts_GK.sum(axis=0) > 0
    off = [np.abs(shares_GK[chosen].sum(axis=0) - share)[there_K].sum() for chosen in choices]
    held_out_N = np.isin(group_N, choices[int(np.argmin(off))])
    kept, held_out = np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N)
    return split.subset(torch.from_numpy(kept)), split.subset(torch.from_numpy(held_out))

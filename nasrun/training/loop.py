"""Train and predict in the one minibatch loop that supernets and derived networks share.

Shapes: B batch, C channels, H height, W width, K classes, N images of a split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from nasrun.compute import cancellation
from nasrun.compute.device import LEAST_PART, Device, Load, precise
from nasrun.compute.process_group import ALONE
from nasrun.compute.transfers import read, upload
from nasrun.errors import RunError
from nasrun.protocols.data import Batch, Dataset, Split
from nasrun.training.update import NotFinite, WeightUpdate

TRAINING = Load("training", None, "the size of the batches or of the network")
PREDICTION = Load("prediction", None, "the size of the network")
SHOW_EVERY_S = 0.2  # not more often: to show a figure, the host waits for the device
LossAndLogits: TypeAlias = tuple[Tensor, Tensor]
"""(the loss to minimise, a scalar; logits_BK, for the accuracy)"""
LogitsAndLabels: TypeAlias = tuple[Tensor, Tensor]
"""(logits_NK, float32; labels_N, int64), both on the CPU."""


def portions(tensor: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Split a batch into so many parts of like size, or fewer, so that none is too small."""
    return tensor.tensor_split(min(parts, max(1, len(tensor) // LEAST_PART)))


def train_epoch(
    batches: Iterable[Batch],
    forward: Callable[[Batch], LossAndLogits],
    update: WeightUpdate,
    device: Device,
    after_batch: Callable[[int, float], None] | None = None,
    load: Load = TRAINING,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Train for one epoch.

    Args:
        batches: what to train on.
        forward: the loss (a mean over images) and the logits of a batch, under autocast where the
            device uses it. Where memory runs out and `on_oom=halve`, of a part of a batch: the
            gradients of the parts add up to that of the batch, though batch norm's statistics are
            those of the parts.
        after_batch: told now and then how many batches are done and the mean loss so far (of this
            process).
        batch_size: images of a batch of the whole group; `None` where a process has all of it.

    Returns:
        `loss` (mean per image, nats), `accuracy`, `learning_rate`, `images_per_second`.

    Raises:
        RunError: a loss is not finite, and the batch is named, or memory has run out.
    """
    started = last_shown = time.perf_counter()
    learning_rate = update.learning_rate
    totals = torch.zeros(2, dtype=torch.float64, device=device.torch)
    number = num_images = 0
    for number, batch in enumerate(batches, start=1):
        cancellation.look()
        size = len(batch[0])
        gradients = partial(_gradients, batch, forward, update, device, batch_size or size)
        loss, figures = device.in_parts(load, size, gradients)
        with _named(number, load):
            update.step(device.group.sum(loss))
        totals += figures
        num_images += size
        if after_batch is not None and time.perf_counter() - last_shown > SHOW_EVERY_S:
            after_batch(number, read(totals)[0] / num_images)
            last_shown = time.perf_counter()
    with _named(number, load):
        update.end_epoch()
    counts = upload(torch.tensor([num_images], dtype=totals.dtype), device.torch)
    loss_sum, num_correct, total = read(device.group.sum(torch.cat([totals, counts])))
    return {
        "loss": loss_sum / total,
        "accuracy": num_correct / total,
        "learning_rate": learning_rate,
        "images_per_second": total / (time.perf_counter() - started),
    }


@contextmanager
def _named(number: int, load: Load) -> Iterator[None]:
    """Say which batch of the epoch it was, counted from 1, and what may help."""
    try:
        yield
    except NotFinite as error:
        hint = "" if load.group is None else f"; lower {load.group}.learning_rate"
        raise RunError(f"{error} at batch {number - error.ago} of the epoch{hint}") from None


def _gradients(
    batch: Batch,
    forward: Callable[[Batch], LossAndLogits],
    update: WeightUpdate,
    device: Device,
    batch_size: int,
    parts: int,
) -> tuple[Tensor, Tensor]:
    """Compute and add up the gradients of a batch, in so many parts.

    Returns the loss of the batch, or what this process's share adds to it; and, float64, the sum of
    the losses of its images and how many logits are right.
    """
    update.clear()
    losses, figures = [], []
    for images, labels_P in zip(*(portions(tensor, parts) for tensor in batch), strict=True):
        with device.autocast():
            loss, logits_PK = forward((images, labels_P))
        share = len(images) / batch_size
        update.add(loss, share * device.group.size)  # the gradients of a group are averaged
        correct = (logits_PK.detach().argmax(1) == labels_P).sum()
        losses.append(loss.detach() * share)
        figures.append(torch.stack([loss.detach().double() * len(images), correct.double()]))
    return torch.stack(losses).sum(), torch.stack(figures).sum(dim=0)


@torch.no_grad()
def predict(
    network: Callable[[Tensor], Tensor],
    dataset: Dataset,
    split: Split,
    device: Device,
    batch_size: int = 512,
    load: Load = PREDICTION,
) -> LogitsAndLabels:
    """Predict every image of a split, in order, without augmentation.

    Each process of a group predicts its share, and all of them get the logits of all. A network
    whose logits depend on the other images of a batch needs `device.alone`.
    """

    def logits(raw_BCHW: Tensor, parts: int) -> Tensor:
        images_BCHW = device.images(dataset.normalise(raw_BCHW))
        return torch.cat([precise(network(part)).cpu() for part in portions(images_BCHW, parts)])

    group = device.group if len(split) >= device.group.size else ALONE
    order_M = torch.tensor(group.share(len(split)))
    found, labels = [], []
    for raw_BCHW, labels_B in split.batches(order_M, batch_size, device.torch):
        cancellation.look()
        with device.autocast():
            found.append(device.in_parts(load, len(raw_BCHW), partial(logits, raw_BCHW)))
        labels.append(labels_B.cpu())
    logits_NK = group.gather(torch.cat(found), len(split))
    return logits_NK, group.gather(torch.cat(labels), len(split))

"""The single minibatch loop that supernets and derived networks share, and what feeds it.

Shapes: B batch, C channels, H height, W width, K classes, N images of a split.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from nasrun.device import LEAST_PART, Device, Load
from nasrun.errors import RunError, UsageError
from nasrun.optimisers import SGD
from nasrun.process_group import ALONE, Share
from nasrun.protocols import Batch, Dataset, Split
from nasrun.schedule import Shape, make_schedule

TRAINING = Load("training", None, "the size of the batches or of the network")
PREDICTION = Load("prediction", None, "the size of the network")
SHOW_EVERY_S = 0.2  # a figure that is shown makes the host wait for the device

LossAndLogits: TypeAlias = tuple[Tensor, Tensor]
"""(the loss to minimise, a scalar; logits_BK, for the accuracy)"""

LogitsAndLabels: TypeAlias = tuple[Tensor, Tensor]
"""(logits_NK, float32; labels_N, int64), both on the CPU."""


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
        """What is left of a batch size where there are few images."""
        return min(batch_size, len(self.split))

    def one_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every image once in a new order; an incomplete last batch is left out, since batch
        norm needs batches of like size (which images are left out differs from pass to pass).
        Of each batch, the share of this process."""
        order_N = self._shuffle()
        num_batches, size = self.num_batches(batch_size), self.size_of_batch(batch_size)
        rows = self._device.group.share(size)
        if size // self._device.group.size < LEAST_PART:
            raise UsageError(
                f"{self._device.group.size} processes cannot share a batch of {size} images: each "
                f"needs {LEAST_PART}; start fewer with torchrun, or take larger batches"
            )
        order_TB = order_N[: num_batches * size].view(num_batches, size)
        share_M = order_TB[:, rows.start : rows.stop].flatten()
        yield from self._load(share_M, len(rows), Share(rows, size))

    def take(self, num_images: int) -> Batch:
        """The next images, of one pass after the other; at most the whole split."""
        num_images = min(num_images, len(self.split))
        if self._position + num_images > len(self._order_N):
            self._order_N = self._shuffle()
            self._position = 0
        order = self._order_N[self._position : self._position + num_images]
        self._position += num_images
        return next(self._load(order, num_images, None))

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
        self._order_N = state["order"].clone()
        self._position = state["position"]


class WeightUpdate:
    """SGD with momentum, clipped gradients and a learning rate that falls from `learning_rate` to
    `learning_rate_min` along a cosine (or as `schedule` says), one step per epoch."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        num_epochs: int,
        learning_rate: float,
        learning_rate_min: float,
        momentum: float,
        weight_decay: float,
        gradient_clip: float,
        nesterov: bool = False,
        schedule: Shape = "cosine",
        warmup_epochs: int = 0,
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimiser = SGD(
            self.parameters,
            lr=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )
        self.schedule = make_schedule(
            self.optimiser, schedule, max(1, num_epochs), learning_rate_min, warmup_epochs
        )
        self._gradient_clip = gradient_clip

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def add(self, loss: Tensor, share: float) -> None:
        """Add the gradient of the loss of a part of the batch, which is such a share of it."""
        # not backward(share): a gradient that is given makes torch import sympy, for a second
        (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]

    def step(self, loss: Tensor) -> None:
        """One update by the gradients, in place of which a loss of the batch, or a gradient, that
        is not finite stops the run."""
        limit = self._gradient_clip if self._gradient_clip > 0 else math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit)
        if not torch.isfinite(loss + norm):  # one question, for which the device is waited for
            require_finite(loss, "training loss")
            require_finite(norm, "norm of the gradient")
        self.optimiser.step()

    def end_epoch(self) -> None:
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])


def portions(tensor: Tensor, parts: int) -> tuple[Tensor, ...]:
    """A batch in so many parts of like size, or in fewer, so that none is too small."""
    return tensor.tensor_split(min(parts, max(1, len(tensor) // LEAST_PART)))


def require_finite(value: Tensor, name: str, to_lower: str = "") -> None:
    """Raise a `RunError` unless a scalar is finite; `to_lower` are the settings that may help."""
    if not torch.isfinite(value):
        advice = f": lower {to_lower}" if to_lower else ""
        raise RunError(f"the {name} is {value.item()}{advice}")


def train_epoch(
    batches: Iterable[Batch],
    forward: Callable[[Batch], LossAndLogits],
    update: WeightUpdate,
    device: Device,
    after_batch: Callable[[int, float], None] | None = None,
    load: Load = TRAINING,
    batch_size: int | None = None,
) -> dict[str, float]:
    """One epoch of weight updates.

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
        RunError: a loss is not finite, or memory has run out; the update is not made and the batch
            is named.
    """
    started = last_shown = time.perf_counter()
    learning_rate = update.learning_rate
    totals = torch.zeros(2, dtype=torch.float64, device=device.torch)
    num_images = 0
    for number, batch in enumerate(batches, start=1):
        size = len(batch[0])
        gradients = partial(_gradients, batch, forward, update, device, batch_size or size)
        loss, figures = device.in_parts(load, size, gradients)
        try:
            update.step(device.group.sum(loss))
        except RunError as error:
            hint = "" if load.group is None else f"; lower {load.group}.learning_rate"
            raise RunError(f"{error} at batch {number} of the epoch{hint}") from None
        totals += figures
        num_images += size
        if after_batch is not None and time.perf_counter() - last_shown > SHOW_EVERY_S:
            after_batch(number, float(totals[0]) / num_images)
            last_shown = time.perf_counter()
    update.end_epoch()
    counts = totals.new_tensor([num_images])
    loss_sum, num_correct, num_images = device.group.sum(torch.cat([totals, counts])).tolist()
    return {
        "loss": loss_sum / num_images,
        "accuracy": num_correct / num_images,
        "learning_rate": learning_rate,
        "images_per_second": num_images / (time.perf_counter() - started),
    }


def _gradients(
    batch: Batch,
    forward: Callable[[Batch], LossAndLogits],
    update: WeightUpdate,
    device: Device,
    batch_size: int,
    parts: int,
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, or what this process's share adds to it; and, float64, the sum of the
    losses of its images, and how many logits are right."""
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
    """Of every image of a split, in order, without augmentation. Each process of a group predicts
    its share, and has the logits of all; a network whose logits depend on the other images of a
    batch is for `device.alone`."""

    def logits(raw_BCHW: Tensor, parts: int) -> Tensor:
        images_BCHW = device.images(dataset.normalise(raw_BCHW))
        return torch.cat([network(part).float().cpu() for part in portions(images_BCHW, parts)])

    group = device.group if len(split) >= device.group.size else ALONE
    order_M = torch.tensor(group.share(len(split)))
    found, labels = [], []
    for raw_BCHW, labels_B in split.batches(order_M, batch_size, device.torch):
        with device.autocast():
            found.append(device.in_parts(load, len(raw_BCHW), partial(logits, raw_BCHW)))
        labels.append(labels_B.cpu())
    logits_NK = group.gather(torch.cat(found), len(split))
    return logits_NK, group.gather(torch.cat(labels), len(split))


def halves(split: Split, rng: np.random.Generator) -> tuple[Split, Split]:
    """What a search trains and what it validates on: the halves of a split, or the shares of it
    that it names; of each class as much as of the others, and no image in both."""
    from sklearn.model_selection import train_test_split  # half a second to import

    labels_N = split.labels_N.numpy()
    num_classes = len(np.unique(labels_N))  # of small sets, one image of each at least
    train_share, validation_share = split.search_shares
    num_train = max(num_classes, math.floor(train_share * len(labels_N)))
    num_validation = max(num_classes, math.ceil(validation_share * len(labels_N)))
    num_validation = min(num_validation, len(labels_N) - num_train)
    train, validation = train_test_split(
        np.arange(len(labels_N)),
        train_size=num_train,
        test_size=num_validation,
        stratify=labels_N,
        random_state=int(rng.integers(2**32)),
    )
    return split.subset(torch.from_numpy(train)), split.subset(torch.from_numpy(validation))

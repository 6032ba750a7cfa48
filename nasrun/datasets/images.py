"""Augment whole batches of images or signals and normalise them, on the device that holds them.

Shapes: B batch, C channels, H height, W width; signals are BCL wherever images are BCHW.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nasrun.compute.device import is_out_of_memory
from nasrun.compute.process_group import Share
from nasrun.errors import OutOfMemory
from nasrun.protocols.data import Balance, MetricName, Reading, TaskShape

ChannelStatistics = tuple[list[float], list[float]]
"""(mean_C, deviation_C) of the raw values over the training set."""


class Resident:
    """A tensor and its copies on other devices, each made once, when it is first asked for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._copies = {tensor.device: tensor}

    def on(self, device: torch.device) -> Tensor:
        if device not in self._copies:
            try:
                self._copies[device] = self.tensor.to(device)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                size = f"{self.tensor.nbytes / 1e9:.1f} GB"
                raise OutOfMemory(
                    f"out of memory: the images take {size} on {device}; lower dataset.limit"
                ) from error
        return self._copies[device]


class RandomChanges(Protocol):
    """How training inputs are changed at random: `Augmentation`, or `SignalAugmentation`."""

    def draw(
        self, num_images: int, size: tuple[int, ...], generator: torch.Generator, cutout: bool, /
    ) -> Tensor:
        """Draw the random numbers of a batch, one column per input, on the CPU."""

    def apply(self, raw_BCHW: Tensor, draws: Tensor, fill_C: Tensor | None, /) -> Tensor:
        """Return the changed inputs; `fill_C` is what cutout writes, `None` for no cutout."""


class ImageDataset:
    """The part of a `Dataset` that does not depend on where its images or signals come from.

    Args:
        name: as in `conf/dataset/`.
        shape: of the inputs, as networks see them.
        batch_size: the default size of a training batch.
        augmentation: crops, flips and cutout that suit the data.
        statistics: by which inputs are normalised.
        dtype: of the raw inputs, uint8 or float32.
        class_names: in the order of the labels; their numbers where there are no names.
        white: the raw value of white in pictures; `None` where raw values are any numbers.
        scaled: pixels to which the shorter side of a picture is scaled; `None`: the size itself.
        balance, metric: see `Dataset`.
        notes: what a person should know before the run, a sentence each.
    """

    def __init__(
        self,
        *,
        name: str,
        shape: TaskShape,
        batch_size: int,
        augmentation: RandomChanges,
        statistics: ChannelStatistics,
        dtype: torch.dtype,
        class_names: Sequence[str] | None = None,
        white: float | None = None,
        scaled: int | None = None,
        balance: Balance = Balance(),  # noqa: B008 - a value
        metric: MetricName = "accuracy",
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.shape = shape
        self.batch_size = batch_size
        self.balance, self.metric = balance, metric
        self.notes: Sequence[str] = list(notes)
        self._augmentation = augmentation
        means, deviations = statistics
        self.reading = Reading(
            classes=tuple(class_names or map(str, range(shape.num_classes))),
            mean=tuple(means),
            deviation=tuple(deviations),
            white=white,
            scaled=(scaled or min(shape.size)) if len(shape.size) == 2 else None,
            whole=dtype == torch.uint8,
        )
        mean_C = torch.tensor(means)
        broadcast = (-1, *[1] * len(shape.size))
        self._mean = Resident(mean_C.view(broadcast))
        self._deviation = Resident(torch.tensor(deviations).view(broadcast))
        self._fill = Resident((mean_C.round() if dtype == torch.uint8 else mean_C).to(dtype))

    def augment(
        self,
        raw_BCHW: Tensor,
        generator: torch.Generator,
        cutout: bool,
        share: Share | None = None,
    ) -> Tensor:
        """Crop, flip and cut out; same shape, dtype and device. `generator` is on the CPU.

        Cutout writes the channel means: zero after normalisation, as in DARTS, where it follows
        the normalisation (in uint8 only to the nearest raw value).
        """
        share = share or Share(range(len(raw_BCHW)), len(raw_BCHW))
        size = tuple(raw_BCHW.shape[2:])
        draws_XB = self._augmentation.draw(share.batch_size, size, generator, cutout)
        # drawn for the whole batch, so that several processes augment as a single one does
        draws_XB = draws_XB[:, share.rows.start : share.rows.stop]
        fill_C = self._fill.on(raw_BCHW.device) if cutout else None
        return self._augmentation.apply(raw_BCHW, draws_XB, fill_C)

    def normalise(self, raw_BCHW: Tensor) -> Tensor:
        """Return float32 with zero mean and unit deviation per channel over the training set."""
        device = raw_BCHW.device
        return (raw_BCHW - self._mean.on(device)) / self._deviation.on(device)

"""Define what a dataset offers: images, raw_BCHW, or signals, raw_BCL.

Shapes: B batch, C channels, H height, W width, L samples of a signal, N inputs. Where a name says
images_BCHW, an input of a dataset of signals is of the shape BCL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from nasrun.compute.process_group import Share

Batch: TypeAlias = "tuple[Tensor, Tensor]"
"""(images_BCHW or signals_BCL, float32, normalised, on the device; labels_B int64)."""


@dataclass(frozen=True)
class TaskShape:
    """What a network must accept and produce: C input channels, their spatial size, K classes."""

    channels: int
    size: tuple[int, ...]  # (H, W) for images, (L,) for signals
    num_classes: int

    @property
    def kind(self) -> str:
        """Say what inputs are: `images` have two spatial dimensions, `signals` one."""
        return KINDS[len(self.size)]


KINDS = {1: "signals", 2: "images"}
"""What inputs are called, by the number of their spatial dimensions."""


MetricName: TypeAlias = Literal["accuracy", "balanced_accuracy", "macro_f1"]
"""What a search can maximise on validation inputs, see `nasrun.training.quality`."""
BalanceKind: TypeAlias = Literal["none", "class_weights", "balanced_batches"]


@dataclass(frozen=True)
class Balance:
    """How trainings make rare classes count.

    `class_weights` weigh the loss of an input; with `balanced_batches` inputs are drawn with
    replacement. Either way a class of n inputs has the weight n^(1 - strength): at 0 classes count
    as often as there are inputs, at 1 all count alike.
    """

    kind: BalanceKind = "none"
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a picture or an array of a person becomes an input of a network of this dataset.

    Raw values are normalised as (raw - mean) / deviation, channel by channel.
    """

    classes: tuple[str, ...]  # names, in the order of the labels
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    white: float | None  # the raw value of white; `None`: the inputs are numbers, and no pictures
    scaled: int | None = None  # pixels of the shorter side, before the middle is cut out
    whole: bool = False  # whether raw values are whole numbers (uint8)


class Split(Protocol):
    """Labelled raw inputs (uint8 or float32), before augmentation and normalisation."""

    labels_N: Tensor  # int64, on the CPU
    search_shares: tuple[float, float]  # of each class: what a search trains and validates on
    groups_N: Tensor | None  # int64: inputs of one group, a patient, are never split; `None`: free

    def __len__(self) -> int: ...

    def subset(self, indices_M: Tensor) -> Split: ...

    def batches(
        self, order_M: Tensor, batch_size: int, device: torch.device, crops: Generator | None = None
    ) -> Iterator[Batch]:
        """Yield the raw inputs in the given order; the last batch may be smaller.

        For training, `crops` (on the CPU) draws the crops of a split that decodes on the fly;
        `augment` follows.
        """


class Dataset(Protocol):
    """A classification task. Constructed from `conf/dataset/<name>.yaml`; checked when built."""

    name: str
    shape: TaskShape
    batch_size: int  # the default size of a training batch
    reading: Reading  # how other inputs are read, once a network is trained
    balance: Balance  # of the classes, in every training
    metric: MetricName  # what a search maximises, unless its settings say something else
    notes: Sequence[str]  # what a person should know before a run: what was read, what left out

    @property
    def train(self) -> Split: ...

    @property
    def test(self) -> Split:
        """Return the test set, which is looked at once, at the very end."""

    def augment(
        self,
        raw_BCHW: Tensor,
        generator: torch.Generator,
        cutout: bool,
        share: Share | None = None,
    ) -> Tensor:
        """Crop, flip and cut out at random, as suits this data; same shape and dtype.

        `generator` lives on the CPU; `cutout` is the recipe's choice, its length the dataset's.
        Where the images are a `share` of a batch, they get the draws that they have in the whole
        batch.
        """

    def normalise(self, raw_BCHW: Tensor) -> Tensor:
        """Return float32 with zero mean and unit deviation per channel over the training set."""

    def fingerprint(self) -> str:
        """Return a checksum of the data, for the record of the run."""

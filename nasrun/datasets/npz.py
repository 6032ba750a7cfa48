"""Load a user's arrays from one `.npz` file, and name all that is wrong with them.

Shapes: N images, C channels, H height, W width; of signals L samples.
"""

from __future__ import annotations

import re
import textwrap
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.lib import format as npy

from nasrun.compute.memory import shortage
from nasrun.datasets import checks
from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.npz_names import NAMES, plain_labels, recognise, told_names
from nasrun.datasets.signals import SignalAugmentation
from nasrun.errors import UsageError, raise_together
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import BatchSize, Location, Meaning, NumClasses, NumImages, Pixels
from nasrun.storage import npz_file

Layout = Literal["auto", "channels_last", "channels_first", "signals"]
MAX_CHANNELS = 4  # an axis so short is taken for the channels (grey, RGB, RGB and one more)


def load_npz(
    *,
    name: str,
    file: Annotated[
        str, Meaning("an .npz file with x_train, y_train, x_test, y_test"), Location("file")
    ],
    layout: Layout,
    num_classes: NumClasses | None,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels | None,
    flip: bool,
    cutout_length: Pixels | None,
) -> Dataset:
    """Load images and labels from arrays that may have several forms.

    Images are [N,H,W], [N,H,W,C] or [N,C,H,W], uint8 or floating; signals are [N,L], or with
    `layout=signals` [N,C,L] or [N,L,C], of any real numbers. Labels are integers from 0, [N] or
    [N,1], or one-hot. The names of the arrays may be others that mean the same, see `npz_names`.

    Raises:
        UsageError: names all that is wrong with the file.
    """
    path = Path(file).expanduser()
    contents = read_contents(path)
    arrays = contents.arrays
    problems = [*contents.problems, *_array_problems(arrays, num_classes, layout)]
    raise_together(f"dataset.file={path}: {contents.as_named(text)}" for text in problems)
    num_classes = num_classes or int(arrays["y_train"].max()) + 1
    train_NCHW, test_NCHW = (channels_first(arrays[name], layout) for name in ("x_train", "x_test"))
    shortest = min(train_NCHW.shape[2:])
    crop_padding = shortest // 8 if crop_padding is None else crop_padding
    cutout_length = shortest // 2 if cutout_length is None else cutout_length
    return ArrayDataset(
        name=name,
        train=(train_NCHW, arrays["y_train"]),
        test=(test_NCHW, arrays["y_test"]),
        num_classes=num_classes,
        batch_size=batch_size,
        limit=limit,
        augmentation=(
            Augmentation(crop_padding, flip, cutout_length)
            if train_NCHW.ndim == 4
            else SignalAugmentation(crop_padding, 0.0, cutout_length)
        ),
        class_names=[str(label) for label in range(num_classes)],
        counted=True,
        notes=contents.notes,
    )


@dataclass
class Contents:
    """What a file holds of the arrays of `NAMES`.

    Args:
        arrays: those that can be read.
        named: the names that they have in the file.
        problems: what is wrong with the others.
        notes: what a person should know.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_named(self, sentence: str) -> str:
        """Put the names that arrays have in the file into a sentence that has those of `NAMES`."""
        return re.sub(
            rf"\b({'|'.join(NAMES)})\b", lambda found: self.named.get(found[0], found[0]), sentence
        )


def read_contents(path: Path, wanted: Sequence[str] = NAMES, where: str | None = None) -> Contents:
    """Read the arrays of a data set.

    Args:
        wanted: which of `NAMES` are read.
        where: what sentences call the file; `dataset.file=...` if that is not said.

    Raises:
        UsageError: the file cannot be read at all.
    """
    contents = Contents()
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError
        with zipfile.ZipFile(path) as archive:
            members = npz_file.members(archive)
            contents.named, missing = recognise(members, wanted)
            contents.problems += missing
            sizes = (members[member].file_size for member in contents.named.values())
            if (lacking := shortage(sum(sizes))) is not None:
                contents.problems = [f"its arrays would take {lacking}"]
                return contents
            contents.notes += told_names(members, contents.named)
            for name, member in contents.named.items():
                try:
                    array = npz_file.read_member(archive, members[member])
                except npz_file.UNREADABLE as error:
                    reason = textwrap.shorten(str(error) or type(error).__name__, 120)
                    contents.problems.append(f"{name} cannot be read ({reason})")
                    continue
                if name.startswith("y"):
                    array, done = plain_labels(member, array)
                    contents.notes += done
                contents.arrays[name] = array
    except npz_file.UNREADABLE as error:
        raise UsageError(f"{where or f'dataset.file={path}'}: {_explain(path, error)}") from None
    return contents


def _explain(path: Path, error: Exception) -> str:
    """Say why a file is no zip archive that can be opened."""
    if path.is_dir():
        return "this is a folder, not an .npz file (for pictures in folders: dataset=imagefolder)"
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "this is not a regular file"
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror or error})"
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"PK"):
        return "the file is cut short or damaged; copy it again"
    if start == npy.MAGIC_PREFIX:
        return "this is a single array (.npy); put the arrays into one file with numpy.savez"
    return f"this is not an .npz file; write one with numpy.savez, with {', '.join(NAMES)}"


def _array_problems(
    arrays: dict[str, np.ndarray], num_classes: int | None, layout: str
) -> Iterator[str]:
    sound = {}
    for name, array in arrays.items():
        if not name.startswith("x"):
            problems = list(checks.label_problems(name, array))
        elif is_signals(array, layout):
            problems = list(checks.signal_problems(name, array))
        else:
            problems = list(checks.image_problems(name, array))
        yield from problems
        if not problems:
            sound[name] = array
    yield from checks.pair_problems(sound)
    if "x_train" in sound:
        yield from _layout_problems("x_train", sound["x_train"].shape, layout)
    labels = [sound.get("y_train"), sound.get("y_test")]
    if all(array is not None and len(array) for array in labels):
        yield from checks.class_problems(sound["y_train"], sound["y_test"], num_classes)


def _layout_problems(name: str, shape: tuple[int, ...], layout: str) -> Iterator[str]:
    if layout == "auto" and len(shape) == 4:
        short = (shape[1] <= MAX_CHANNELS, shape[3] <= MAX_CHANNELS)
        if short[0] == short[1]:
            why = "two axes" if all(short) else "no axis"
            yield (
                f"{name} has the shape {shape}, in which {why} could be the channels; "
                "say dataset.layout=channels_last or channels_first"
            )


def is_signals(array: np.ndarray, layout: str) -> bool:
    """Return whether inputs are signals: [N,L], or whatever the layout says is signals."""
    return layout == "signals" or (layout == "auto" and array.ndim == 2)


def channels_first(images: np.ndarray, layout: str) -> np.ndarray:
    """Return images_NCHW or signals_NCL, a view."""
    if is_signals(images, layout):
        return as_signals(images)
    if images.ndim == 3:
        return images[:, None]
    last = images.shape[3] <= MAX_CHANNELS if layout == "auto" else layout == "channels_last"
    return images.transpose(0, 3, 1, 2) if last else images


def as_signals(signals: np.ndarray) -> np.ndarray:
    """Return signals_NCL; of two axes the shorter one has the channels, of equal ones the first."""
    if signals.dtype.kind in "iu" and signals.dtype != np.uint8:  # as a recorder writes them
        signals = signals.astype(np.float32)
    if signals.ndim == 2:
        return signals[:, None]
    return signals.transpose(0, 2, 1) if signals.shape[1] > signals.shape[2] else signals

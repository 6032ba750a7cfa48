"""Say in words all that is wrong with a user's arrays; nothing here raises.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

NUM_SHOWN = 5  # of a long list of faults of one kind


def image_problems(name: str, images: np.ndarray) -> Iterator[str]:
    """Yield faults of one array of images, [N,H,W] or four dimensions, uint8 or floating."""
    return _input_problems(name, images, "image", (3, 4), "[N,H,W], [N,H,W,C] or [N,C,H,W]")


def signal_problems(name: str, signals: np.ndarray) -> Iterator[str]:
    """Yield faults of one array of signals, [N,L] or three dimensions, of whole numbers or not."""
    numbers = signals.astype(np.float32) if signals.dtype.kind in "iu" else signals
    return _input_problems(name, numbers, "signal", (2, 3), "[N,L], [N,C,L] or [N,L,C]")


def _input_problems(
    name: str, images: np.ndarray, noun: str, dimensions: tuple[int, int], forms: str
) -> Iterator[str]:
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        yield f"{name} holds {images.dtype}; {noun}s must be uint8 or floating"
    elif images.ndim not in dimensions:
        yield f"{name} has the shape {images.shape}; {noun}s must be {forms}"
    elif images.size == 0:
        yield f"{name} holds no {noun}s (its shape is {images.shape})"
    elif images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is a fault
            finite = np.isfinite(images.astype(np.float32))
        bad_M = np.flatnonzero(~finite.all(axis=tuple(range(1, images.ndim))))
        if len(bad_M):
            yield f"{name} has NaN or infinite values in {_some(noun, bad_M, len(bad_M))}"


def label_problems(name: str, labels: np.ndarray) -> Iterator[str]:
    """Yield faults of one array of labels by itself."""
    if labels.ndim != 1:
        yield _two_dimensional(name, labels)
    elif labels.dtype.kind not in "iu":
        yield f"{name} holds {labels.dtype}; labels must be whole numbers (an integer dtype)"
    elif len(labels) and labels.min() < 0:
        yield f"{name} has the label {labels.min()}; labels start at 0"


def class_problems(
    y_train: np.ndarray, y_test: np.ndarray, num_classes: int | None
) -> Iterator[str]:
    """Yield faults of the classes, given labels that are sound by themselves and not empty.

    Each class needs two training images, since a search trains on one half and validates on the
    other, and the test labels must be among the classes.
    """
    present, counts = np.unique(y_train, return_counts=True)
    total = int(present[-1]) + 1 if num_classes is None else num_classes
    if total < 2:
        yield f"y_train has the one class {present[0]}; a classification needs two"
    for name, labels in (("y_train", y_train), ("y_test", y_test)):
        largest = int(labels.max())
        if largest < total:
            continue
        if num_classes is None:
            yield f"{name} has the label {largest}, which y_train never shows"
        else:
            allowed = f"dataset.num_classes={total} allows 0 to {total - 1}"
            yield f"{name} has the label {largest}; {allowed}"
    shown = {int(label) for label in present if label < total}
    if len(shown) < total:
        missing = (label for label in range(total) if label not in shown)
        which = _some("class", missing, total - len(shown))
        yield f"y_train has no image of {which}; labels must be 0 to {total - 1} without gaps"
    single_M = present[counts == 1]
    if len(single_M):
        which = _some("class", single_M, len(single_M))
        yield f"y_train has only one image of {which}; a search needs two (training, validation)"


def pair_problems(arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield faults of arrays that do not fit together.

    `arrays` has those of x_train, y_train, x_test and y_test that there are.
    """
    for part in ("train", "test"):
        images, labels = arrays.get(f"x_{part}"), arrays.get(f"y_{part}")
        if images is not None and labels is not None and len(images) != len(labels):
            yield f"x_{part} has {len(images)} images, but y_{part} has {len(labels)} labels"
    train, test = arrays.get("x_train"), arrays.get("x_test")
    if train is None or test is None:
        return
    if train.shape[1:] != test.shape[1:]:
        yield f"the images of x_train are {train.shape[1:]}, but those of x_test {test.shape[1:]}"
    if train.dtype.kind != test.dtype.kind:
        yield f"x_train holds {train.dtype}, but x_test {test.dtype}; they must be alike"


def _some(noun: str, values: Iterable[int], count: int) -> str:
    """Write the first of a list that may be long: `class 3`, `class 3, 4 and 5 more`."""
    text = f"{noun} " + ", ".join(str(value) for value in islice(values, NUM_SHOWN))
    return text if count <= NUM_SHOWN else f"{text} and {count - NUM_SHOWN:,} more"


def _two_dimensional(name: str, labels: np.ndarray) -> str:
    """Say what is wrong with labels of the shape [N, K] that are not one-hot."""
    text = f"{name} has the shape {labels.shape}; labels must be [N]: one number per image"
    if labels.ndim != 2 or labels.dtype.kind not in "biuf":
        return text
    return f"{text} (one-hot? {next(_differences(labels))})"


def _differences(labels_NK: np.ndarray) -> Iterator[str]:
    """Yield how labels differ from one-hot ones; the first is enough to tell a person."""
    other = labels_NK[(labels_NK != 0) & (labels_NK != 1)]
    if other.size:
        yield f"then all values would be 0 or 1, and there is {other.flat[0]}: argmax(1) of them?"
    counts_N = (labels_NK == 1).sum(1)
    for row in np.flatnonzero(counts_N != 1):
        yield f"then each row would have one 1, and row {row} has {counts_N[row]}"
    yield "it is empty"

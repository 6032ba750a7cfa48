"""Load a user's signals from one `.npz` file, and name all that is wrong with them.

Shapes: N signals, C channels, L samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from nasrun.datasets import checks
from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.npz import Layout, read_contents
from nasrun.datasets.signals import SignalAugmentation
from nasrun.errors import raise_together
from nasrun.protocols.data import Balance, BalanceKind, Dataset, MetricName
from nasrun.protocols.settings import (
    BatchSize,
    Fraction,
    Location,
    Meaning,
    NumClasses,
    NumImages,
    Probability,
    Samples,
)


def load_npz_signals(
    *,
    name: str,
    file: Annotated[
        str, Meaning("an .npz file with x_train, y_train, x_test, y_test"), Location("file")
    ],
    layout: Layout,
    num_classes: NumClasses | None,
    batch_size: BatchSize,
    limit: NumImages | None,
    shift: Samples | None,
    gain: Fraction,
    cutout_length: Samples | None,
    balance: BalanceKind,
    balance_strength: Probability,
    metric: MetricName,
) -> Dataset:
    """Load signals, float32, and labels.

    Signals are [N,L], [N,C,L] or [N,L,C], whole numbers or floating. Labels are integers from 0,
    [N] or [N,1], or one-hot. The names of the arrays may be others that mean the same, see
    `npz_names`.

    Args:
        shift, gain, cutout_length: see `SignalAugmentation`.
        balance, balance_strength: see `protocols.data.Balance`.
        metric: what a search maximises, unless it is told otherwise.

    Raises:
        UsageError: names all that is wrong with the file.
    """
    contents = read_contents(Path(file).expanduser())
    arrays = contents.arrays
    problems = [*contents.problems, *_problems(arrays, num_classes, layout)]
    raise_together(f"dataset.file={file}: {contents.as_named(text)}" for text in problems)
    num_classes = num_classes or int(arrays["y_train"].max()) + 1
    train_NCL, test_NCL = (as_signals(arrays[one], layout) for one in ("x_train", "x_test"))
    length = train_NCL.shape[2]
    return ArrayDataset(
        name=name,
        train=(train_NCL, arrays["y_train"]),
        test=(test_NCL, arrays["y_test"]),
        num_classes=num_classes,
        batch_size=batch_size,
        limit=limit,
        augmentation=SignalAugmentation(
            length // 20 if shift is None else shift,
            gain,
            length // 8 if cutout_length is None else cutout_length,
        ),
        class_names=[str(label) for label in range(num_classes)],
        counted=True,
        balance=Balance(balance, balance_strength),
        metric=metric,
        notes=contents.notes,
    )


def as_signals(signals: np.ndarray, layout: Layout) -> np.ndarray:
    """Return signals_NCL, float32. Of two axes, `auto` takes the shorter one for the channels."""
    signals = signals.astype(np.float32)
    if signals.ndim == 2:
        return signals[:, None]
    last = signals.shape[2] < signals.shape[1] if layout == "auto" else layout == "channels_last"
    return signals.transpose(0, 2, 1) if last else signals


def _problems(
    arrays: Mapping[str, np.ndarray], num_classes: int | None, layout: Layout
) -> Iterator[str]:
    sound = {}
    for name, array in arrays.items():
        find = checks.signal_problems if name.startswith("x") else checks.label_problems
        problems = list(find(name, array))
        yield from problems
        if not problems:
            sound[name] = array
    yield from checks.pair_problems(sound, "signal")
    shape = sound["x_train"].shape if "x_train" in sound else ()
    if len(shape) == 3 and shape[1] == shape[2] and layout == "auto":
        yield (
            f"x_train has the shape {shape}, in which either axis could be the channels; "
            "say dataset.layout=channels_first or channels_last"
        )
    labels = [sound.get("y_train"), sound.get("y_test")]
    if all(array is not None and len(array) for array in labels):
        yield from checks.class_problems(
            sound["y_train"], sound["y_test"], num_classes, noun="signal"
        )

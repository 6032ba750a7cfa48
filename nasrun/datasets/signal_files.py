"""Read signals out of text files, one signal a row, for a network that takes signals.

Shapes: B signals at a time, C channels, L samples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from nasrun.errors import UsageError

LARGEST = float(np.finfo(np.float32).max)


def rows_of(
    file: Path, channels: int, length: int, batch: int
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the names of some rows, and their signals_BCL, float32.

    A row has all samples of the first channel, then those of the next one. The first row can be a
    heading.

    Raises:
        UsageError: the file cannot be read, or a row is no signal that the network takes.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = ((number, row) for number, row in enumerate(csv.reader(stream), start=1) if row)
            first = next(rows, None)
            if first is None:
                raise UsageError(f"{file} is empty")
            kept = [first] if _is_number(first[1][0]) else []
            while chosen := kept + list(islice(rows, batch - len(kept))):
                kept = []
                signals = [_signal(file, *pair, channels, length) for pair in chosen]
                yield [f"{file}:{number}" for number, _ in chosen], np.stack(signals)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} is no text with a signal in each row ({error})") from None


def _signal(file: Path, number: int, row: Sequence[str], channels: int, length: int) -> np.ndarray:
    wanted = channels * length
    if len(row) != wanted:
        shape = f"{length} samples" if channels == 1 else f"{channels} x {length} samples"
        raise UsageError(
            f"{file}: row {number} has {len(row)} values, and the network takes signals of {shape}"
        )
    values = [float(text) if _is_number(text) else None for text in row]
    if None in values:
        wrong = row[values.index(None)]
        raise UsageError(f"{file}: row {number} has {wrong[:40]!r}, which is no finite number")
    return np.array(values, np.float32).reshape(channels, length)


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) <= LARGEST  # false for what is not a number, too
    except ValueError:
        return False

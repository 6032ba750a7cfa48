"""Read what a trained network is asked about: pictures, folders of them, arrays, rows of text.

A picture becomes what the dataset of the training would have made of it.
Shapes: N inputs, B of them at a time, C channels, H height, W width; signals are BCL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nasrun.datasets.folders import ENDINGS, is_hidden
from nasrun.datasets.npz import channels_first, read_contents
from nasrun.datasets.pictures import MAX_PIXELS, UNREADABLE, centre
from nasrun.datasets.signal_files import rows_of
from nasrun.errors import UsageError, raise_together
from nasrun.protocols.data import Reading

BATCH = 64


@dataclass(frozen=True)
class Inputs:
    """Some inputs: what they are called, raw_BCHW or raw_BCL (float32), labels where known."""

    names: list[str]
    raw_BCHW: np.ndarray
    labels_B: np.ndarray | None = None


def pictures_of(paths: Sequence[Path]) -> list[Path]:
    """List the picture files that are named, and those in the folders that are named.

    Raises:
        UsageError: a path does not exist, or a folder has no picture.
    """
    files, problems = list[Path](), list[str]()
    for path in paths:
        if path.is_dir():
            found = sorted(_pictures_in(path))
            files += found
            if not found:
                problems.append(f"{path} has no picture ({' '.join(ENDINGS)})")
        elif path.is_file():
            files.append(path)
        else:
            problems.append(f"there is no file {path}")
    raise_together(problems)
    return files


def _pictures_in(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if name.lower().endswith(ENDINGS) and not is_hidden(name):
                yield Path(place, name)


def from_pictures(
    files: Sequence[Path], reading: Reading, channels: int, size: tuple[int, ...]
) -> Iterator[Inputs]:
    """Read picture files, so many at a time.

    Raises:
        UsageError: the network was not trained on pictures, or some files are none.
    """
    if len(size) == 1:
        raise UsageError(
            f"the network takes signals, {channels} x {size[0]}, and no pictures: give a .csv file "
            "with a signal in each row, or an .npz file with an array x_test"
        )
    if reading.white is None or channels not in (1, 3) or len(set(size)) != 1:
        shape = " x ".join(map(str, (channels, *size)))
        raise UsageError(
            f"the network takes numbers, {shape}, of which nothing says what is black and what is "
            "white: give an .npz file with an array x or x_test"
        )
    for start in range(0, len(files), BATCH):
        chosen = files[start : start + BATCH]
        images, problems = list[np.ndarray](), list[str]()
        for file in chosen:
            try:
                images.append(_picture(str(file), reading, channels, size[0]))
            except UNREADABLE as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                problems.append(f"{file} is not a readable picture ({reason})")
        raise_together(problems)
        yield Inputs(list(map(str, chosen)), np.stack(images))


def _picture(file: str, reading: Reading, channels: int, size: int) -> np.ndarray:
    pixels_CHW, _ = centre(file, reading.scaled or size, size, MAX_PIXELS)
    if channels == 1:
        grey = Image.fromarray(np.ascontiguousarray(pixels_CHW.transpose(1, 2, 0))).convert("L")
        pixels_CHW = np.asarray(grey)[None]
    assert reading.white is not None
    if reading.white == 255:
        return pixels_CHW.astype(np.float32)
    scaled_CHW = pixels_CHW.astype(np.float32) * (reading.white / 255)
    return np.round(scaled_CHW) if reading.whole else scaled_CHW


def from_rows(file: Path, channels: int, size: tuple[int, ...]) -> Iterator[Inputs]:
    """Read a text file with a signal in each row.

    Raises:
        UsageError: the network takes no signals, or the file has none that it takes.
    """
    if len(size) != 1:
        raise UsageError(f"{file} has rows of numbers, and the network takes pictures")
    for names, signals_BCL in rows_of(file, channels, size[0], BATCH):
        yield Inputs(names, signals_BCL)


def from_arrays(
    file: Path, channels: int, size: tuple[int, ...], *, labelled: bool
) -> Iterator[Inputs]:
    """Read the test arrays of an .npz file, so many rows at a time.

    Raises:
        UsageError: there are none, or none of a shape that the network takes.
    """
    contents = read_contents(file, ("x_test", "y_test") if labelled else ("x_test",), str(file))
    raise_together(f"{file}: {contents.as_named(text)}" for text in contents.problems)
    images, labels = contents.arrays["x_test"], contents.arrays.get("y_test")
    wanted = (channels, *size)
    if len(size) == 1:
        images = signals_channels_first(images, wanted)
    elif images.ndim in (3, 4) and images.shape[1:] != wanted:
        images = channels_first(images, "auto")
    if images.shape[1:] != wanted or images.dtype.kind not in "uif":
        found = " x ".join(map(str, images.shape[1:]))
        raise UsageError(
            f"{file}: inputs are {found}, {images.dtype}, and the network takes numbers, "
            f"{' x '.join(map(str, wanted))}"
        )
    for start in range(0, len(images), BATCH):
        stop = min(start + BATCH, len(images))
        names = [f"{file}:{row}" for row in range(start, stop)]
        own = None if labels is None else labels[start:stop]
        yield Inputs(names, images[start:stop].astype(np.float32), own)


def signals_channels_first(signals: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Return signals_NCL of [N,L] or [N,L,C], a view, where that makes them the `wanted` (C, L)."""
    if signals.ndim == 2:
        return signals[:, None]
    if signals.ndim == 3 and signals.shape[1:] == wanted[::-1]:
        return signals.transpose(0, 2, 1)
    return signals


def from_class_folders(
    folder: Path, reading: Reading, channels: int, size: tuple[int, ...]
) -> Iterator[Inputs]:
    """Read `folder`/<class>/*, whose classes are those of the training.

    Raises:
        UsageError: there are folders of other names, or none.
    """
    known = {name: label for label, name in enumerate(reading.classes)}
    there = sorted(path.name for path in folder.iterdir() if path.is_dir())
    there = [name for name in there if not is_hidden(name)]
    unknown = [name for name in there if name not in known]
    if unknown or not there:
        named = ", ".join(reading.classes[:10]) + ", ..." * (len(reading.classes) > 10)
        told = f"{unknown[0]} is none of the classes" if unknown else "there are no folders"
        raise UsageError(f"{folder}: {told}; the network knows {named}, a folder each")
    for name in there:
        for inputs in from_pictures(pictures_of([folder / name]), reading, channels, size):
            labels_B = np.full(len(inputs.names), known[name])
            yield Inputs(inputs.names, inputs.raw_BCHW, labels_B)

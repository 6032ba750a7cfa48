"""A user's own arrays in one `.npz` file, checked from the headers on before anything is loaded.

Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
import textwrap
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from nasrun.datasets import checks
from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.augmentation import Augmentation
from nasrun.errors import UsageError, raise_together, require
from nasrun.protocols import Dataset

NAMES = ("x_train", "y_train", "x_test", "y_test")
LAYOUTS = ("auto", "channels_last", "channels_first")
MAX_CHANNELS = 4  # an axis so short is taken for the channels (grey, RGB, RGB and one more)
MAX_DEFLATE = 1032  # deflate packs at most so many bytes into one (zlib, Technical Details)

# What opening a cut, damaged, encrypted or hostile file can end in.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_npz(
    *,
    name: str,
    file: str | None,
    layout: str,
    num_classes: int | None,
    batch_size: int,
    limit: int | None,
    crop_padding: int | None,
    flip: bool,
    cutout_length: int | None,
) -> Dataset:
    """Images [N,H,W], [N,H,W,C] or [N,C,H,W], uint8 or floating; integer labels from 0.

    Raises:
        UsageError: names all that is wrong with the file, or a key that is out of range.
    """
    require(file is not None, "dataset.file", "null", f"an .npz file with {', '.join(NAMES)}")
    require(layout in LAYOUTS, "dataset.layout", layout, f"one of {', '.join(LAYOUTS)}")
    classes_allowed = num_classes is None or (type(num_classes) is int and num_classes >= 2)
    require(classes_allowed, "dataset.num_classes", num_classes, "null, or 2 or more")
    path = Path(str(file)).expanduser()
    arrays, problems = read_arrays(path)
    problems += _array_problems(arrays, num_classes, layout)
    raise_together(f"dataset.file={path}: {problem}" for problem in problems)
    train_NCHW, test_NCHW = (
        _channels_first(arrays[name], layout) for name in ("x_train", "x_test")
    )
    shortest = min(train_NCHW.shape[2:])
    return ArrayDataset(
        name=name,
        train=(train_NCHW, arrays["y_train"]),
        test=(test_NCHW, arrays["y_test"]),
        num_classes=num_classes or int(arrays["y_train"].max()) + 1,
        batch_size=batch_size,
        limit=limit,
        augmentation=Augmentation(
            shortest // 8 if crop_padding is None else crop_padding,
            flip,
            shortest // 2 if cutout_length is None else cutout_length,
        ),
    )


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of `NAMES` that can be read, and what is wrong with the others.

    Raises:
        UsageError: the file cannot be read at all.
    """
    arrays, problems = {}, []
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [name for name in NAMES if name not in members]
            if missing:
                has = ", ".join(members) or "nothing"
                problems.append(f"there is no {' and no '.join(missing)} in it (it has {has})")
            for name in NAMES:
                if name in members:
                    try:
                        arrays[name] = _read_member(archive, members[name])
                    except UNREADABLE as error:
                        reason = textwrap.shorten(str(error) or type(error).__name__, 120)
                        problems.append(f"{name} cannot be read ({reason})")
    except UNREADABLE as error:
        raise UsageError(f"dataset.file={path}: {_explain(path, error)}") from None
    return arrays, problems


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array. Its header is believed only when the member is as long as it says, so that a
    header that claims 100 GB allocates nothing."""
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"it is in version {version} of the npy format; 1.0 and 2.0 are read")
        shape, _, dtype = read_header[version](stream)
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects, which are never loaded")
        claimed = math.prod(shape) * dtype.itemsize
        present = info.file_size - stream.tell()
        packed = info.compress_size * MAX_DEFLATE + stream.tell()
        if claimed != present or min(shape, default=0) < 0 or present > packed:
            raise ValueError(f"its header claims {claimed:,} bytes, which are not there")
    with archive.open(info) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _explain(path: Path, error: Exception) -> str:
    """Why a file is no zip archive that can be opened."""
    if path.is_dir():
        return "this is a folder, not an .npz file (for pictures in folders: dataset=imagefolder)"
    if not path.exists():
        return "there is no such file"
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
        find = checks.image_problems if name.startswith("x") else checks.label_problems
        problems = list(find(name, array))
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


def _channels_first(images: np.ndarray, layout: str) -> np.ndarray:
    """images_NCHW, a view."""
    if images.ndim == 3:
        return images[:, None]
    last = images.shape[3] <= MAX_CHANNELS if layout == "auto" else layout == "channels_last"
    return images.transpose(0, 3, 1, 2) if last else images

"""Read ImageNet16-120 from the files of downsampled ImageNet: the first 120 classes.

Chrabaszcz, Loshchilov, Hutter, A Downsampled Variant of ImageNet, 2017 (arXiv 1707.08819); the 120
classes: NAS-Bench-201 (Dong, Yang, ICLR 2020). The files are pickles; see `array_pickle`.
Shapes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.errors import UsageError
from nasrun.protocols.state import Progress
from nasrun.storage import array_pickle
from nasrun.storage.cache_folder import cache_folder

NAME = "imagenet16"
NUM_CLASSES = 120
NUM_LABELS = 1000  # in the files, counted from 1
SHAPE = (3, 16, 16)
NUM_IMAGES = {"train": 151_700, "test": 6_000}

# MD5 sums of the files that NAS-Bench-201 was made with.
CHECKSUMS: Mapping[str, Mapping[str, str]] = {
    "train": {
        "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
        "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
        "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
        "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
        "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
        "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
        "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
        "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
        "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
        "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    },
    "test": {"val_data": "3410e3017fdaefba8d5073aaa65e4bd6"},
}


def imported() -> Path:
    """Return where `nasrun data import imagenet16` puts the images, as an .npz file."""
    return cache_folder("datasets") / f"{NAME}.npz"


def read(
    folder: Path, progress: Progress | None = None, *, official: bool = True
) -> dict[str, np.ndarray]:
    """Read x_train, y_train, x_test and y_test of the 120 classes.

    x is images_NCHW, uint8; y is labels_N, counted from 0.

    Args:
        official: insist on the checksums and the numbers of images of the official files.

    Raises:
        UsageError: names the file that is missing, damaged, or something else.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; it should hold {_some_names()}")
    files = [(part, name) for part, names in CHECKSUMS.items() for name in names]
    missing = [name for _, name in files if not (folder / name).is_file()]
    if missing:
        raise UsageError(f"{folder} has no {', no '.join(missing)}; it should hold {_some_names()}")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {part: [] for part in CHECKSUMS}
    for number, (part, name) in enumerate(files):
        if progress is not None:
            progress(number, len(files))
        if official:
            _check_sum(folder / name, CHECKSUMS[part][name])
        parts[part].append(_read_file(folder / name))
    arrays = {}
    for part, batches in parts.items():
        images, labels = zip(*batches, strict=True)
        arrays[f"x_{part}"], arrays[f"y_{part}"] = np.concatenate(images), np.concatenate(labels)
        found, expected = len(arrays[f"x_{part}"]), NUM_IMAGES[part]
        if official and found != expected:
            images = f"{part} images of the {NUM_CLASSES} classes"
            raise UsageError(f"{folder} has {found:,} {images}, not {expected:,}")
    return arrays


def _some_names() -> str:
    return "train_data_batch_1 to train_data_batch_10 and val_data"


def _check_sum(path: Path, expected: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != expected:
        raise UsageError(
            f"{path} is not the official file or is damaged (its MD5 sum is {found}, not "
            f"{expected}); dataset.official=false reads other files of the same layout"
        )


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images_NCHW and labels_N of the 120 classes from one file."""
    try:
        content = array_pickle.read(path)
    except (OSError, *array_pickle.UNREADABLE) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} is not a file of downsampled ImageNet: {reason}") from None
    problem = _problem(content)
    if problem is not None:
        raise UsageError(f"{path} is not a file of downsampled ImageNet: {problem}")
    labels_N = np.array(content["labels"], dtype=np.int64)
    kept_N = labels_N <= NUM_CLASSES
    return content["data"][kept_N].reshape(-1, *SHAPE), labels_N[kept_N] - 1


def _problem(content: Mapping[str, Any]) -> str | None:
    missing = [key for key in ("data", "labels") if key not in content]
    if missing:
        return f"there is no {' and no '.join(missing)} in it (it has {', '.join(content)})"
    data, width = content["data"], int(np.prod(SHAPE))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        return f"its data are {getattr(data, 'dtype', type(data).__name__)}, not an array of uint8"
    if data.ndim != 2 or data.shape[1] != width:
        return f"its data have the shape {data.shape}, not [N, {width}] (16x16 pixels, RGB)"
    labels = content["labels"]
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        return "its labels are no whole numbers"
    if len(labels) != len(data):
        return f"it has {len(data):,} images, but {len(labels):,} labels"
    wrong = next((label for label in labels if not 1 <= label <= NUM_LABELS), None)
    return None if wrong is None else f"it has the label {wrong}; labels are 1 to {NUM_LABELS:,}"

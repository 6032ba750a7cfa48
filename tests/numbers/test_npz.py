"""A user's own arrays: what is read, and what is said about each kind of bad file."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.datasets.npz import load_npz
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset, Split

CPU = torch.device("cpu")


def all_of(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return next(split.batches(torch.arange(len(split)), len(split), CPU))


def npz(file: Path | None, **keys: Any) -> Dataset:
    defaults = {"layout": "auto", "num_classes": None, "batch_size": 4, "limit": None}
    defaults |= {"crop_padding": None, "flip": True, "cutout_length": None}
    return load_npz(name="npz", file=None if file is None else str(file), **defaults | keys)


def made_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (12, 6, 7, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 6, 7, 3), dtype=np.uint8),
        "y_test": np.arange(6, dtype=np.uint8) % 3,
    }


def test_real_images() -> None:
    if "NASRUN_DATA" not in os.environ:
        pytest.skip("NASRUN_DATA does not say where cifar10_small.npz is")
    path = Path(os.environ["NASRUN_DATA"]) / "cifar10_small.npz"
    dataset = npz(path)
    raw, labels = all_of(dataset.train)
    with np.load(path, allow_pickle=False) as stored:
        assert np.array_equal(raw.numpy(), stored["x_train"].transpose(0, 3, 1, 2))
        assert np.array_equal(labels.numpy(), stored["y_train"])
    shape = dataset.shape
    assert (shape.channels, shape.size, shape.num_classes) == (3, (32, 32), 10)


@pytest.mark.parametrize(
    ("axes", "layout"),
    [((0, 1, 2, 3), "auto"), ((0, 3, 1, 2), "auto"), ((0, 1, 2, 3), "channels_last")],
)
def test_layouts(axes: tuple[int, ...], layout: str, tmp_path: Path) -> None:
    arrays = made_arrays()
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name].transpose(axes)
    np.savez_compressed(tmp_path / "made.npz", **arrays)
    dataset = npz(tmp_path / "made.npz", layout=layout)
    raw, labels = all_of(dataset.test)
    assert np.array_equal(raw.numpy(), made_arrays()["x_test"].transpose(0, 3, 1, 2))
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (dataset.shape.channels, dataset.shape.size, dataset.shape.num_classes) == (3, (6, 7), 3)


def test_grey_big_endian_doubles(tmp_path: Path) -> None:
    arrays = made_arrays()
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name][..., 0].astype(">f8")
    np.savez(tmp_path / "made.npz", **arrays)
    dataset = npz(tmp_path / "made.npz")
    raw, _ = all_of(dataset.test)
    assert raw.dtype == torch.float32
    assert np.array_equal(raw.numpy()[:, 0], arrays["x_test"].astype(np.float32))


# ---------------------------------------------------------------------------- names and labels


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),  # of MedMNIST
        ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("xtrain", "ytrain", "xtest", "ytest"),
        ("data/x_train", "data/y_train", "data/x_test", "data/y_test"),
        ("train_data", "train_targets", "test_data", "test_targets"),
    ],
)
def test_names_that_people_give(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays = made_arrays()
    np.savez(tmp_path / "plain.npz", **arrays)
    named = dict(zip(names, arrays.values(), strict=True))
    np.savez(tmp_path / "named.npz", **named, val_images=np.zeros(3), mean=np.zeros(3))
    plain, dataset = npz(tmp_path / "plain.npz"), npz(tmp_path / "named.npz")
    assert dataset.fingerprint() == plain.fingerprint()
    counts = "12 training + 6 test images of 3 classes: 0: 4 + 2, 1: 4 + 2, 2: 4 + 2"
    assert plain.notes == [counts]
    told = ", ".join(f"{name} is {known}" for name, known in zip(names, arrays, strict=True))
    assert dataset.notes == [counts, f"of the arrays {told}", "not used: val_images, mean"]


def test_a_name_that_could_be_two_is_refused(tmp_path: Path) -> None:
    arrays = made_arrays()
    images = arrays.pop("x_train")
    np.savez(tmp_path / "made.npz", **arrays, X_train=images, train_images=images)
    with pytest.raises(UsageError, match="X_train and train_images could all be x_train: keep one"):
        npz(tmp_path / "made.npz")
    np.savez(tmp_path / "made.npz", **made_arrays(), train_images=images)  # the very name wins
    assert npz(tmp_path / "made.npz").notes[1:] == ["not used: train_images"]


def test_faults_have_the_names_of_the_file(tmp_path: Path) -> None:
    arrays = made_arrays()
    arrays["train_labels"] = arrays.pop("y_train")[:11]
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(UsageError, match="x_train has 12 images, but train_labels has 11 labels"):
        npz(tmp_path / "made.npz")


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64, bool])
def test_one_hot_labels(kind: type, tmp_path: Path) -> None:
    arrays = made_arrays()
    np.savez(tmp_path / "plain.npz", **arrays)
    for name in ("y_train", "y_test"):
        arrays[name] = np.eye(3)[arrays[name]].astype(kind)
    np.savez(tmp_path / "made.npz", **arrays)
    dataset = npz(tmp_path / "made.npz")
    assert dataset.fingerprint() == npz(tmp_path / "plain.npz").fingerprint()
    assert dataset.notes[1:] == [
        "y_train is one-hot; its labels are 0 to 2", "y_test is one-hot; its labels are 0 to 2"
    ]  # fmt: skip


def test_labels_in_a_column_and_truth_values(tmp_path: Path) -> None:
    arrays = made_arrays()
    for name in ("y_train", "y_test"):
        arrays[name] = arrays[name][:, None]
    np.savez(tmp_path / "made.npz", **arrays)
    assert npz(tmp_path / "made.npz").train.labels_N.tolist() == [0, 1, 2] * 4
    for name in ("y_train", "y_test"):
        arrays[name] = arrays[name] > 0
    np.savez(tmp_path / "made.npz", **arrays)
    assert npz(tmp_path / "made.npz").train.labels_N.tolist() == [0, 1, 1] * 4


def test_faint_channels_are_told(tmp_path: Path) -> None:
    arrays = made_arrays()
    arrays["x_train"][..., 1] = 255
    arrays["x_train"][0, 0, 0, 1] = 3  # of 504
    np.savez(tmp_path / "made.npz", **arrays)
    _, note = npz(tmp_path / "made.npz").notes
    assert note.startswith(
        "warning: 1 of 3 channels of the training images are nearly constant (of channel 1 99.8% "
        "of the values are 255, and the standard deviation is 11.2): "
    )
    assert round(252 * (503 / 504 / 504) ** 0.5, 1) == 11.2


@pytest.mark.parametrize(
    ("offset", "noise", "told"),
    [(127, 0.5, False), (1e6, 1000.0, False), (1000, 0.01, True), (0, 1e-9, False), (5, 0.0, True)],
)
def test_faint_floats(offset: float, noise: float, told: bool, tmp_path: Path) -> None:
    """Next to nothing is a ten-thousandth of the largest value, or a single value."""
    arrays = made_arrays()
    spread = np.random.default_rng(0).normal(offset, noise, (12, 6, 7, 3))
    arrays |= {"x_train": spread, "x_test": arrays["x_test"].astype(float)}
    np.savez(tmp_path / "made.npz", **arrays)
    assert len(npz(tmp_path / "made.npz").notes) == 1 + told


# ---------------------------------------------------------------------------- faults

Change = Callable[[dict[str, np.ndarray]], None]


def put(**replaced: Any) -> Change:
    return lambda arrays: arrays.update({k: np.asarray(v) for k, v in replaced.items()})


def put_nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["x_train"] = arrays["x_train"].astype(np.float32)
    arrays["x_test"] = arrays["x_test"].astype(np.float64)
    arrays["x_train"][3, 0, 0, 0] = np.nan
    arrays["x_test"][[0, 5], 1, 1, 1] = 1e300  # infinite in float32


BAD_ARRAYS: list[tuple[Change, dict[str, Any], list[str]]] = [
    (lambda a: a.pop("y_test"), {}, [r"no y_test in it \(it has x_train, y_train, x_test\)"]),
    (put(x_test=np.empty((0, 6, 7, 3), np.uint8)), {}, ["x_test holds no images"]),
    (put(x_train=np.zeros((12, 6, 7, 3), int)), {}, ["x_train holds int64; images must be uint8"]),
    (put(x_train=np.zeros((12, 42), np.uint8)), {}, [r"x_train are \(42,\), .* \(6, 7, 3\)"]),
    (put(x_train=np.zeros(12, np.uint8)), {}, [r"x_train has the shape \(12,\); images must be"]),
    (put(y_train=np.arange(12.0)), {}, ["y_train holds float64; labels must be whole numbers"]),
    (put(y_train=np.arange(12.0)[:, None]), {}, ["y_train holds float64; labels must be whole"]),
    (put(y_train=np.zeros((12, 1, 1), int)), {}, [r"y_train has the shape \(12, 1, 1\)"]),
    (
        put(y_train=np.eye(3)[np.arange(12) % 3] / 2),
        {},
        [r"y_train has the shape \(12, 3\).*\(one-hot\? then all values .* there is 0.5: argmax"],
    ),
    (
        put(y_train=np.ones((12, 3), int)),
        {},
        [r"y_train has the shape \(12, 3\).*\(one-hot\? .* one 1, and row 0 has 3\)"],
    ),
    (put(y_train=np.arange(11) % 3), {}, ["x_train has 12 images, but y_train has 11 labels"]),
    (put(y_train=np.arange(12) % 3 - 1), {}, ["y_train has the label -1; labels start at 0"]),
    (put(y_train=np.arange(12) % 3 + 1), {}, ["y_train has no image of class 0"]),
    (put(y_train=[2**40] + [0, 1] * 5 + [0]), {}, ["class 2, 3, 4, 5, 6 and .* more", "only one"]),
    (put(y_train=[0] * 12, y_test=[0] * 6), {}, ["y_train has the one class 0"]),
    (put(y_train=[0, 1, 2] + [0] * 9), {}, ["only one image of class 1, 2"]),
    (put(y_test=[0, 1, 2, 3, 0, 1]), {}, ["y_test has the label 3, which y_train never shows"]),
    (put(), {"num_classes": 2}, ["y_train has the label 2; dataset.num_classes=2", "y_test has"]),
    (put(), {"num_classes": 5}, ["y_train has no image of class 3, 4"]),
    (put(x_test=np.zeros((6, 8, 8, 3), np.uint8)), {}, [r"x_train are \(6, 7, 3\), but .*\(8, 8"]),
    (put(x_test=np.zeros((6, 6, 7, 3))), {}, ["x_train holds uint8, but x_test float64"]),
    (put_nan, {}, ["x_train has NaN or infinite values in image 3", "x_test .* image 0, 5"]),
    (put(x_train=np.array([{}] * 12)), {}, ["x_train cannot be read .*pickled Python objects"]),
    (
        put(x_train=np.zeros((12, 3, 7, 3), np.uint8), x_test=np.zeros((6, 3, 7, 3), np.uint8)),
        {},
        ["two axes could be the channels; say dataset.layout=channels_last"],
    ),
    (
        put(x_train=np.zeros((12, 7, 6, 5), np.uint8), x_test=np.zeros((6, 7, 6, 5), np.uint8)),
        {},
        ["no axis could be the channels; say dataset.layout=channels_last"],
    ),
]


@pytest.mark.parametrize(("change", "keys", "expected"), BAD_ARRAYS)
def test_bad_arrays(
    change: Change, keys: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    arrays = made_arrays()
    change(arrays)
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(UsageError) as error:
        npz(tmp_path / "made.npz", **keys)
    lines = str(error.value).removeprefix(f"{len(expected)} problems:\n").splitlines()
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert line.removeprefix("- ").startswith(f"dataset.file={tmp_path / 'made.npz'}: ")
        assert re.search(pattern, line)


def test_names_all_faults_at_once(tmp_path: Path) -> None:
    arrays = made_arrays()
    del arrays["x_test"]
    arrays["x_train"] = np.array(["a", "b"])
    arrays["y_test"] = arrays["y_test"] + 5
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(UsageError, match=r"^3 problems:\n- .*no x_test.*\n- .*<U1.*\n- .*label 7"):
        npz(tmp_path / "made.npz")


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    with pytest.raises(UsageError, match=r"made.npz: there is no such file"):
        npz(path)
    with pytest.raises(UsageError, match="this is a folder"):
        npz(tmp_path)
    path.write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match=r"this is not an .npz file"):
        npz(path)
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(UsageError, match=r"this is a single array \(.npy\)"):
        npz(path)
    np.savez(path, **made_arrays())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UsageError, match=r"the file is cut short or damaged"):
        npz(path)


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    np.savez(path, **made_arrays())
    content = bytearray(path.read_bytes())
    content[400] ^= 255  # among the pixels of x_train: the checksum of the member no longer fits
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x_train cannot be read \(Bad CRC-32"):
        npz(path)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("(1000000000, 10, 10)", "its header claims 100,000,000,000 bytes, which are not there"),
        ("(-12, -6, 21)", "its header claims .* not there"),
        ("(12, 6, 20)", "its header claims 1,440 bytes, which are not there"),
        ("(12, 6, __import__('os'))", "Cannot parse header|malformed"),
        ("(12, 6, (", ""),  # raises tokenize.TokenError inside numpy
    ],
)
def test_hostile_header(shape: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    np.savez(path, **made_arrays())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    members["x_train.npy"] = start + members["x_train.npy"][128:]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UsageError, match=rf"x_train cannot be read \(.*{expected}"):
        npz(path)

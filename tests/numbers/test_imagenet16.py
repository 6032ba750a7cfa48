"""The official ImageNet16-120 files, and pickles that are read and never run."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasrun.cli.main import main
from nasrun.datasets import imagenet16_files
from nasrun.datasets.imagenet16 import load_imagenet16
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset
from nasrun.storage import array_pickle
from tests import made_images


def imagenet16(file: Path | None, **keys: Any) -> Dataset:
    defaults: dict[str, Any] = {"official": True, "layout": "auto", "num_classes": None}
    defaults |= {"batch_size": 256, "limit": None, "crop_padding": 2, "flip": True}
    file_text = None if file is None else str(file)
    return load_imagenet16(name="imagenet16", file=file_text, cutout_length=8, **defaults | keys)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return made_images.imagenet16(tmp_path / "files")


@pytest.fixture
def official(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The made files as if they were the official ones."""
    sums = {
        part: {name: hashlib.md5((made / name).read_bytes()).hexdigest() for name in names}
        for part, names in imagenet16_files.CHECKSUMS.items()
    }
    monkeypatch.setattr(imagenet16_files, "CHECKSUMS", sums)
    monkeypatch.setattr(imagenet16_files, "NUM_IMAGES", {"train": 360, "test": 120})
    return made


# ---------------------------------------------------------------------------- images


def test_the_first_120_classes_are_kept_in_order(made: Path) -> None:
    dataset = imagenet16(made, official=False)
    assert (dataset.shape.channels, dataset.shape.size, dataset.shape.num_classes) == (
        3,
        (16, 16),
        120,
    )
    assert torch.bincount(dataset.train.labels_N).tolist() == [3] * 120
    assert dataset.test.labels_N.tolist() == list(range(120))
    contents = [pickle.loads((made / f"train_data_batch_{n}").read_bytes()) for n in range(1, 11)]
    labels = np.concatenate([content["labels"] for content in contents])
    pixels = np.concatenate([content["data"] for content in contents])[labels <= 120]
    assert dataset.train.labels_N.tolist() == (labels[labels <= 120] - 1).tolist()
    images_NCHW, _ = next(dataset.train.batches(torch.arange(360), 360, torch.device("cpu")))
    assert np.array_equal(images_NCHW.numpy(), pixels.reshape(-1, 3, 16, 16))


def test_imported_once_and_then_found(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"type nasrun data import imagenet16 FOLDER"):
        imagenet16(None)
    main(["data", "import", "imagenet16", str(official)])
    target = tmp_path / "cache" / "nasrun" / "datasets" / "imagenet16.npz"
    assert capsys.readouterr().out == f"imported: {target}\n"
    assert imagenet16(None).fingerprint() == imagenet16(official).fingerprint()
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", "imagenet16", str(official)])
    assert stopped.value.code == 2
    assert "is there already: --force replaces it" in capsys.readouterr().err


def refused(folder: Path, message: str, **keys: Any) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        imagenet16(folder, **keys)
    assert "\n" not in str(caught.value)


def test_other_files_than_the_official_ones(made: Path, official: Path, tmp_path: Path) -> None:
    path = official / "train_data_batch_3"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    refused(official, r"train_data_batch_3 is not the official file or is damaged \(its MD5 sum is")
    path.write_bytes(content)
    imagenet16_files.NUM_IMAGES["train"] = 361  # a copy of its own, see the fixture
    refused(official, "has 360 train images of the 120 classes, not 361")
    (official / "val_data").unlink()
    (official / "train_data_batch_9").unlink()
    refused(
        official, "has no train_data_batch_9, no val_data; it should hold train_data_batch_1 to"
    )
    refused(official, "dataset.num_classes=10 is not possible", num_classes=10)
    with pytest.raises(UsageError, match="none is no folder"):
        imagenet16_files.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, r"there is no labels in it \(it has data, mean\)"),
        ({"data": [1, 2]}, "its data are list, not an array of uint8"),
        ({"data": np.zeros((4, 768))}, "its data are float64, not an array of uint8"),
        ({"data": np.zeros((4, 3072), np.uint8)}, r"shape \(4, 3072\), not \[N, 768\]"),
        ({"labels": [1, 2, 3]}, "it has 4 images, but 3 labels"),
        ({"labels": [0, 1, 2, 3]}, "it has the label 0; labels are 1 to 1,000"),
        ({"labels": [1, 2, 3, 4.0]}, "its labels are no whole numbers"),
    ],
)
def test_contents_that_do_not_fit(change: dict[str, Any], message: str, made: Path) -> None:
    content = {"data": np.zeros((4, 768), np.uint8), "labels": [1, 2, 3, 4], "mean": 0.5} | change
    content = {key: value for key, value in content.items() if value is not None}
    (made / "val_data").write_bytes(pickle.dumps(content))
    refused(made, f"val_data is not a file of downsampled ImageNet: .*{message}", official=False)


def test_classes_without_images_are_named(made: Path) -> None:
    labels = np.arange(1, 1001)
    made_images.write_imagenet16(made / "val_data", labels, np.random.default_rng(0))
    for number in range(1, 11):
        path = made / f"train_data_batch_{number}"
        made_images.write_imagenet16(path, np.array([1, 1, 2, 2]), np.random.default_rng(0))
    refused(made, "y_train has no image of class 2, 3, 4, 5, 6 and 113 more", official=False)


# ---------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "bytes": rng.integers(0, 256, (5, 7), dtype=np.uint8),
        "columns": np.asfortranarray(rng.integers(0, 256, (5, 7), dtype=np.uint8)),
        "big": rng.normal(size=(2, 3)).astype(">f8"),
        "empty": np.zeros((0, 4), np.int32),
    }
    content = {
        **arrays,
        "list": [1, 2**70, -0.5],
        "text": "é",
        "none": None,
        "pair": (True, b"\xff"),
    }
    (tmp_path / "file").write_bytes(pickle.dumps(content, protocol))
    found = array_pickle.read(tmp_path / "file")
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert {name: found[name] for name in ("list", "text", "none", "pair")} == {
        name: content[name] for name in ("list", "text", "none", "pair")
    }


def test_an_array_of_python_2(tmp_path: Path) -> None:
    """As numpy 1.9 wrote it: the contents are a str, which is bytes there."""
    array = (
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        "(I1\n(I2\nI2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
        "I00\nS'\\x00\\xff\\x80\\x07'\ntb"
    )
    (tmp_path / "file").write_text(f"(dS'data'\n{array}sS'labels'\n(lI3\naI-4\nas.")
    found = array_pickle.read(tmp_path / "file")
    assert found["data"].tolist() == [[0, 255], [128, 7]]
    assert found["labels"] == [3, -4]


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_a_pickle_that_names_a_function_is_refused_and_not_run(made: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was_here"
    content = {"data": Calls(os.system, f"touch {marker}"), "labels": [1]}
    (made / "train_data_batch_1").write_bytes(pickle.dumps(content))
    expected = r"train_data_batch_1 is not a file of .*: it names posix.system, and is not run$"
    refused(made, expected, official=False)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Calls(eval, "1")}, "it names builtins.eval, and is not run"),
        ({"a": Calls(np.load, "x")}, "it names numpy.*load, and is not run"),
        ({"a": Calls(np.ndarray, (10**12,))}, "it makes an array in no way that numpy writes"),
        ({"a": np.array([{}])}, "it holds an array of the type O8"),
        ({"a": np.zeros(2, "f4,f4")}, "it holds an array of the type V8"),
        ({"a": np.dtype("u1")}, "it holds something besides arrays"),
        ({"a": np.float64(1)}, "it names numpy.*scalar, and is not run"),
        ([1], "it holds no dictionary, but a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the same in every process
)
def test_other_contents_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pickle.dumps(content))
    with pytest.raises(pickle.UnpicklingError, match=message):
        array_pickle.read(tmp_path / "file")


def test_an_array_that_claims_more_than_there_is(tmp_path: Path) -> None:
    honest = pickle.dumps({"a": np.zeros((7, 9), np.uint8)}, protocol=2)
    assert honest.count(b"K\x07K\x09\x86") == 1  # the shape
    (tmp_path / "file").write_bytes(honest.replace(b"K\x07K\x09\x86", b"K\x07K\x0a\x86"))
    with pytest.raises(pickle.UnpicklingError, match=r"claims to be \(7, 10\), and has 63 bytes"):
        array_pickle.read(tmp_path / "file")
    (tmp_path / "file").write_bytes(honest[:40])
    with pytest.raises(array_pickle.UNREADABLE):
        array_pickle.read(tmp_path / "file")


def test_a_pickle_cannot_change_what_reads_the_next_one(tmp_path: Path) -> None:
    """BUILD sets attributes of whatever stands before it, here of the stand-in of a function."""
    hostile = b"(dS'a'\ncnumpy.core.multiarray\n_reconstruct\n(N(dS'__defaults__'\n(I1\ntstbs."
    (tmp_path / "file").write_bytes(hostile)
    with pytest.raises(pickle.UnpicklingError, match="it holds something besides arrays"):
        array_pickle.read(tmp_path / "file")
    test_an_array_of_python_2(tmp_path)

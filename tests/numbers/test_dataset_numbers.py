"""The numbers of each dataset (own arrays: test_npz.py), and what is said about bad files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasrun.datasets import arrays as arrays_module
from nasrun.datasets.arrays import ArrayDataset, balanced_rows, channel_statistics
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.cifar import STATISTICS, load_cifar
from nasrun.datasets.digits import load_digits
from nasrun.datasets.folders import Found, find_and_split
from nasrun.datasets.imagefolder import load_imagefolder
from nasrun.datasets.synthetic import make_synthetic
from nasrun.errors import UsageError
from nasrun.protocols.data import Dataset, Split

CPU = torch.device("cpu")


def all_of(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return next(split.batches(torch.arange(len(split)), len(split), CPU))


def digits(**keys: Any) -> Dataset:
    defaults = {"batch_size": 64, "limit": None, "crop_padding": 1, "cutout_length": 4}
    return load_digits(name="digits", **defaults | keys)


def imagefolder(root: Path, **keys: Any) -> Dataset:
    defaults = {"size": 8, "batch_size": 4, "limit": None, "crop_padding": None, "flip": True}
    return load_imagefolder(name="mine", root=str(root), cutout_length=None, **defaults | keys)


# ---------------------------------------------------------------------------- digits


def test_digits_split_and_nearest_neighbour() -> None:
    dataset = digits()
    train, train_labels = all_of(dataset.train)
    test, test_labels = all_of(dataset.test)
    assert (len(train), len(test)) == (1437, 360)
    assert train.max() == 16
    distances = torch.cdist(test.flatten(1).float(), train.flatten(1).float())
    accuracy = (train_labels[distances.argmin(1)] == test_labels).double().mean()
    assert accuracy == pytest.approx(0.956, abs=5e-4)


def test_digits_limit() -> None:
    full, limited = digits(), digits(limit=45)
    assert torch.bincount(limited.train.labels_N).sort().values.tolist() == [4] * 5 + [5] * 5
    assert len(limited.test) == 360
    assert limited.fingerprint() != full.fingerprint() == digits().fingerprint()


# ---------------------------------------------------------------------------- arrays


def test_balanced_rows_by_hand() -> None:
    labels = np.array([2, 0, 0, 0, 1, 2, 0, 1])
    assert balanced_rows(labels, 6, 3).tolist() == [0, 1, 2, 4, 5, 7]
    assert balanced_rows(labels, 7, 3).tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert balanced_rows(labels, 100, 3).tolist() == list(range(8))
    with pytest.raises(UsageError, match=r"dataset.limit=5 .* at least 6 \(two per class\)"):
        balanced_rows(labels, 5, 3)


def test_channel_statistics_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays_module, "CHUNK", 3)
    images = torch.randint(0, 256, (10, 2, 4, 5), dtype=torch.uint8)
    images[:, 1] = 9  # constant: its deviation is given as 1
    mean, deviation = channel_statistics(images)
    assert mean == pytest.approx([images[:, 0].double().mean().item(), 9.0])
    assert deviation == pytest.approx([images[:, 0].double().std(correction=0).item(), 1.0])


def test_cutout_is_zero_after_normalisation() -> None:
    """In float exactly, in uint8 to half a raw value."""
    values = np.random.default_rng(0).uniform(0, 255, (4, 3, 6, 6))
    for images, tolerance in ((values, 1e-6), (values.astype(np.uint8), 0.5 / 60)):
        dataset = ArrayDataset(
            name="made",
            train=(images, np.arange(4) % 2),
            test=(images, np.arange(4) % 2),
            num_classes=2,
            batch_size=2,
            limit=None,
            augmentation=Augmentation(0, False, 12),  # covers the image wherever its centre is
        )
        raw, _ = all_of(dataset.train)
        blank = dataset.augment(raw, torch.Generator().manual_seed(0), cutout=True)
        assert dataset.normalise(blank).abs().max() <= tolerance


def test_large_sets_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = torch.device("meta")
    dataset = digits()
    monkeypatch.setattr(arrays_module, "MAX_DEVICE_BYTES", 100)
    raw, labels = next(dataset.train.batches(torch.arange(3), 3, meta))
    assert raw.device == labels.device == meta
    assert list(dataset.train.images._copies) == [CPU]
    monkeypatch.undo()
    half = dataset.train.subset(torch.arange(700))
    next(half.batches(torch.arange(3), 3, meta))
    assert list(dataset.train.images._copies) == [CPU, meta]  # shared by the subset


# ---------------------------------------------------------------------------- synthetic


def test_synthetic_is_learnable_and_repeats() -> None:
    keys = {
        "name": "made",
        "num_train": 64,
        "num_test": 64,
        "size": 9,
        "channels": 2,
        "num_classes": 4,
    }
    keys |= {"noise": 32.0, "batch_size": 8, "limit": None, "crop_padding": 1, "cutout_length": 4}
    dataset = make_synthetic(seed=0, flip=False, **keys)
    images, labels = all_of(dataset.train)
    test, test_labels = all_of(dataset.test)
    means = torch.stack([images[labels == k].float().mean(0) for k in range(4)])
    nearest = torch.cdist(test.flatten(1).float(), means.flatten(1)).argmin(1)
    assert (nearest == test_labels).double().mean() == 1.0
    assert dataset.fingerprint() == make_synthetic(seed=0, flip=False, **keys).fingerprint()
    assert dataset.fingerprint() != make_synthetic(seed=1, flip=False, **keys).fingerprint()
    with pytest.raises(UsageError, match=r"dataset.num_train=7 .* at least 8"):
        make_synthetic(seed=0, flip=False, **keys | {"num_train": 7})


# ---------------------------------------------------------------------------- cifar


def cifar(root: Path) -> Dataset:
    return load_cifar(
        name="cifar10",
        num_classes=10,
        root=str(root),
        download=False,
        batch_size=64,
        limit=None,
        crop_padding=4,
        flip=True,
        cutout_length=16,
    )


def test_cifar_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"CIFAR10 is not there .*dataset.download=true"
    ) as missing:
        cifar(tmp_path)
    assert str(tmp_path / "cifar-10-batches-py") in str(missing.value)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"half a download")
    with pytest.raises(UsageError, match=r"is damaged; delete it and type dataset.download=true"):
        cifar(tmp_path)


def test_cifar_statistics_are_those_of_the_full_training_set() -> None:
    if "NASRUN_DATA" not in os.environ:
        pytest.skip("NASRUN_DATA does not say where cifar10_small.npz is")
    path = Path(os.environ["NASRUN_DATA"]) / "cifar10_small.npz"
    mean, deviation = STATISTICS[10]
    with np.load(path, allow_pickle=False) as stored:
        assert stored["channel_mean"] == pytest.approx(mean, abs=1e-3)
        assert stored["channel_std"] == pytest.approx(deviation, abs=1e-3)


# ---------------------------------------------------------------------------- imagefolder


def make_pictures(root: Path, part: str, classes: dict[str, int], count: int = 2) -> None:
    """Pictures of one grey value per class, 16 x 12 pixels."""
    for name, grey in classes.items():
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.new("L", (16, 12), grey).save(folder / f"{number}.png")


def test_imagefolder_pixels_and_labels(tmp_path: Path) -> None:
    make_pictures(tmp_path, "train", {"ape": 10, "bee": 20, "cat": 30}, count=4)
    make_pictures(tmp_path, "val", {"bee": 20, "cat": 30}, count=1)  # its own counting: 0 and 1
    dataset = imagefolder(tmp_path, limit=6)
    raw, labels = all_of(dataset.train)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(raw, (labels + 1)[:, None, None, None].expand(6, 3, 8, 8) * 10)
    raw, labels = all_of(dataset.test)
    assert labels.tolist() == [1, 2]
    assert raw[:, 0, 0, 0].tolist() == [20, 30]


def test_imagefolder_keeps_the_centre(tmp_path: Path) -> None:
    make_pictures(tmp_path, "train", {"ape": 10, "bee": 20})
    stripes = np.repeat(np.array([[0] * 2 + [100] * 4 + [0] * 2], np.uint8), 4, axis=0)
    for name in ("ape", "bee"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(stripes).save(tmp_path / "test" / name / "0.png")
    raw, _ = all_of(imagefolder(tmp_path, size=4).test)
    assert torch.equal(raw, torch.full((2, 3, 4, 4), 100, dtype=torch.uint8))


def test_imagefolder_faults(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no folder .*train, and no folder .*val; .*dataset.test_share=0.2"
    ):
        imagefolder(tmp_path)
    make_pictures(tmp_path, "train", {"ape": 10}, count=1)
    make_pictures(tmp_path, "test", {"ape": 10, "dog": 5})
    expected = (
        "3 problems:\n- .*one class ape.*\n- .*no folder train/dog\n- .*train/ape has one picture"
    )
    with pytest.raises(UsageError, match=expected):
        imagefolder(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(UsageError, match=r"train/dog has no picture \(.bmp .*; a search needs two"):
        imagefolder(tmp_path)


def test_a_folder_of_classes_is_parted_class_by_class(tmp_path: Path) -> None:
    """A fifth of 10 and of 4 pictures, at least one; which ones depends on their names alone."""
    for root in ("here", "elsewhere"):
        make_pictures(tmp_path / root, "", {"ape": 10}, count=10)
        make_pictures(tmp_path / root, "", {"bee": 20}, count=4)
    here = find_and_split(tmp_path / "here", ("test",), None, 0.2, 0)
    assert here.classes == ["ape", "bee"]
    assert [label for _, label in here.test] == [0, 0, 1]
    assert [label for _, label in here.train] == [0] * 8 + [1] * 3
    assert not {file for file, _ in here.test} & {file for file, _ in here.train}
    assert "3 pictures are kept for the test" in here.notes[-1]

    def chosen(found: Found) -> list[str]:
        return [f"{Path(file).parent.name}/{Path(file).name}" for file, _ in found.test]

    elsewhere = find_and_split(tmp_path / "elsewhere", ("test",), None, 0.2, 0)
    assert chosen(elsewhere) == chosen(here)
    others = {tuple(chosen(find_and_split(tmp_path / "here", (), None, 0.2, n))) for n in range(5)}
    assert len(others) > 1
    assert len(imagefolder(tmp_path / "here", test_share=0.5).test) == 7


def test_faults_of_a_folder_that_is_to_be_parted(tmp_path: Path) -> None:
    make_pictures(tmp_path, "train", {"ape": 10, "bee": 20}, count=2)
    with pytest.raises(UsageError, match="train/ape has one picture; a search needs two"):
        imagefolder(tmp_path, test_share=0.2)
    make_pictures(tmp_path, "val", {"ape": 10, "bee": 20}, count=2)
    with pytest.raises(UsageError, match="test pictures in val already: leave"):
        imagefolder(tmp_path, test_share=0.2)


def test_imagefolder_unreadable_picture(tmp_path: Path) -> None:
    for part in ("train", "test"):
        make_pictures(tmp_path, part, {"ape": 10, "bee": 20})
    bad = tmp_path / "train" / "bee" / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    with pytest.raises(UsageError, match=f"{bad} is not a readable picture") as error:
        imagefolder(tmp_path)
    assert "\n" not in str(error.value)

"""Which files of a folder are the data set, and what is said about the others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nasrun.datasets.counts import class_counts
from nasrun.datasets.folders import Found, find
from nasrun.errors import UsageError


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


GOOD = [
    f"{part}/{name}/{number}.png"
    for part in ("train", "test")
    for name in ("cat", "dog")
    for number in (1, 2)
]


def found(root: Path) -> Found:
    return find(root, ("test", "val"), None)


def test_what_tools_leave_behind_is_no_class_and_no_picture(tmp_path: Path) -> None:
    make(tmp_path, *GOOD)
    expected = found(tmp_path)
    assert expected.classes == ["cat", "dog"]
    assert [(file.removeprefix(f"{tmp_path}/"), label) for file, label in expected.train] == [
        ("train/cat/1.png", 0), ("train/cat/2.png", 0),
        ("train/dog/1.png", 1), ("train/dog/2.png", 1),
    ]  # fmt: skip
    assert expected.notes == []
    make(
        tmp_path,
        "train/.ipynb_checkpoints/1-checkpoint.png",
        "train/__MACOSX/cat/1.png",
        "train/dog/.ipynb_checkpoints/1.png",
        "train/dog/._1.png",
        "test/.git/1.png",
        ".cache/train/cat/9.png",
    )
    cleaned = found(tmp_path)
    assert (cleaned.classes, cleaned.train, cleaned.test) == (
        expected.classes, expected.train, expected.test
    )  # fmt: skip
    assert cleaned.notes == [
        "4 files of train are left out (4 of hidden names (.* and __MACOSX))",
        "1 files of test are left out (1 of hidden names (.* and __MACOSX))",
    ]


def test_files_that_are_left_out_are_counted(tmp_path: Path) -> None:
    make(tmp_path, *GOOD, "train/cat/a.gif", "train/cat/b.GIF", "train/dog/c.gif")
    make(tmp_path, "train/dog/d.heic", "train/dog/IMG_1", "train/loose.png", "train/dog/UP.JPG")
    (note,) = found(tmp_path).notes
    assert note.startswith("6 files of train are left out (1 in no folder of a class; 5 of other ")
    assert note.endswith(": 3 .gif, 1 .heic, 1 without one)")
    assert [file for file, _ in found(tmp_path).train if "UP.JPG" in file]


def test_a_second_folder_of_test_pictures_is_told(tmp_path: Path) -> None:
    make(tmp_path, *GOOD, "val/cat/1.png")
    assert found(tmp_path).notes == ["the test pictures are those of test; val is not used"]


def test_a_class_without_test_pictures_is_told() -> None:
    counts, without = class_counts(["cat", "dog", "owl"], [0, 0, 1, 1, 2, 2], [0, 0, 2])
    assert counts == "6 training + 3 test images of 3 classes: cat: 2 + 2, dog: 2 + 0, owl: 2 + 1"
    assert without == "warning: no test images of dog: the test accuracy says nothing of them"


def test_many_classes_are_counted_in_a_line() -> None:
    labels = [label for label in range(100) for _ in range(2 + label % 3)]
    (counts,) = class_counts([str(k) for k in range(100)], labels, range(100))
    assert counts == "299 training + 100 test images of 100 classes: 2 to 4 + 1 each"


def test_an_empty_folder_of_a_test_class_is_no_fault(tmp_path: Path) -> None:
    make(tmp_path, *GOOD)
    shutil.rmtree(tmp_path / "test" / "dog")
    (tmp_path / "test" / "dog").mkdir()
    assert [label for _, label in found(tmp_path).test] == [0, 0]
    shutil.rmtree(tmp_path / "test" / "cat")
    with pytest.raises(UsageError, match="test has no picture in a folder of a class"):
        found(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *GOOD)
    listed = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("train/dog"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=r"train/dog cannot be read \(Permission denied\)"):
        found(tmp_path)

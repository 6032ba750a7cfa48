"""`nasrun check`: a run in miniature finds what would end a run, and forecasts what it takes."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasrun.cli import main
from nasrun.rehearsal import memory
from tests import made_images
from tests.commands.pictures import without_pictures

QUICK = ["space=toy", "budget=smoke", "retrain=smoke"]
SMALL = [*QUICK, "dataset=synthetic", "dataset.num_train=64", "dataset.batch_size=16",
         "retrain.batch_size=16"]  # fmt: skip
LABELS = [*SMALL, "strategy=random", "evaluator.epochs=1"]
Disk = namedtuple("Disk", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def checked(capsys, *words: str) -> str:
    """What `nasrun check` says of a run that works; it leaves nothing behind."""
    before = files()
    main(["check", *words])
    assert files() == before
    assert not Path("outputs").exists()
    return capsys.readouterr().out


def found(capsys, *words: str) -> list[str]:
    """The problems that it tells; it leaves nothing behind."""
    before = files()
    with pytest.raises(SystemExit) as stopped:
        main(["check", *words])
    told = capsys.readouterr().err
    assert stopped.value.code == 2, told
    assert "Traceback" not in told
    assert files() == before
    assert not Path("outputs").exists()
    lines = told.removeprefix("nasrun: ").strip().splitlines()
    return [line.removeprefix("- ") for line in lines[len(lines) > 1 :]]


# ---------------------------------------------------------------------------- ten mistakes


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8),
        "y_train": np.arange(40) % 3,
        "x_test": rng.integers(0, 255, (9, 8, 8, 1), dtype=np.uint8),
        "y_test": np.arange(9) % 3,
    }


def wrong_test_split(_: pytest.MonkeyPatch) -> list[str]:
    np.savez("data.npz", **{**arrays(), "y_test": np.arange(9)})
    return [*QUICK, "dataset=npz", "dataset.file=data.npz"]


def broken_test_picture(_: pytest.MonkeyPatch) -> list[str]:
    root = made_images.imagenet(Path("pictures"), classes=2, train=8, val=3)
    last = sorted(root.glob("val/*/*.JPEG"))[-1]
    last.write_bytes(last.read_bytes()[:200])
    size = ["dataset.image_size=16", "dataset.workers=0", "dataset.search_train=0.5"]
    return [*QUICK, "dataset=imagenet", "dataset.root=pictures", *size,
            "dataset.search_validation=0.5", "dataset.batch_size=4"]  # fmt: skip


def nothing_to_hold_out(_: pytest.MonkeyPatch) -> list[str]:
    return [*SMALL, "retrain.validation=0.01"]


def blank_images(_: pytest.MonkeyPatch) -> list[str]:
    return [*SMALL, "retrain.cutout=true", "dataset.cutout_length=64"]


def diverging_retraining(_: pytest.MonkeyPatch) -> list[str]:
    return [*SMALL, "retrain.learning_rate=1e30"]


def diverging_labels(_: pytest.MonkeyPatch) -> list[str]:
    return [*LABELS, "dataset.num_train=128", "evaluator.learning_rate=1e30"]


def diverging_predictor(_: pytest.MonkeyPatch) -> list[str]:
    words = ["strategy=dclenas", "predictor.contrast_steps=0", "predictor.head_learning_rate=1e38"]
    return [*SMALL, "space=nasbench201", "evaluator.epochs=1", "retrain=none", *words]


def huge_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    return [*SMALL, "space=nasbench201", "space.channels=4", "retrain.channels=4096"]


def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**9, 10**9 - 10**4, 10**4))
    return SMALL


def unwritable_folder(_: pytest.MonkeyPatch) -> list[str]:
    Path("file").write_text("")
    return [*SMALL, "hydra.run.dir=file/run"]


MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], list[str]], list[str]]] = [
    (wrong_test_split, ["dataset.file=data.npz", "y_test", "y_train never shows"]),
    (broken_test_picture, ["dataset.root=", "val_2.JPEG", "put a sound copy in its place"]),
    (nothing_to_hold_out, ["retrain.validation=0.01", "at least one image of each of the 4"]),
    (blank_images, ["blank after augmentation", "dataset.cutout_length"]),
    (diverging_retraining, ["the retraining", "loss is", "lower retrain.learning_rate"]),
    (diverging_labels, ["the search", "loss is", "lower evaluator.learning_rate"]),
    (diverging_predictor, ["scores of the predictor", "lower predictor.", "head_learning_rate"]),
    (huge_network, ["parameters", "lower retrain.batch_size or retrain.channels"]),
    (full_disk, ["disk space", "9.8 kB are free", "hydra.run.dir"]),
    (unwritable_folder, ["cannot write in", "file/run", "hydra.run.dir"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "words"), MISTAKES, ids=[prepare.__name__ for prepare, _ in MISTAKES]
)
def test_a_prepared_mistake_is_found(
    prepare: Callable[[pytest.MonkeyPatch], list[str]], words: list[str], capsys, monkeypatch
) -> None:
    (problem,) = found(capsys, *prepare(monkeypatch))
    for word in words:
        assert word in problem


def test_all_mistakes_are_told_at_once(capsys) -> None:
    Path("file").write_text("")
    words = ["space=toy", "fitness.zetta=1", "seed=-1", "population.size=1", "strategy.xi=abc"]
    words += ["dataset=npz", "dataset.file=nowhere.npz", "budget.evaluations=3", "retrain.stem=x"]
    told = found(capsys, *words, "hydra.run.dir=file/run")
    keys = ["fitness.zetta", "cannot write", "budget.evaluations=3", "seed=-1", "retrain.stem=x",
            "strategy.xi=abc", "nowhere.npz"]  # fmt: skip
    assert [any(key in problem for problem in told) for key in keys] == [True] * len(keys)
    assert len(told) == len(keys)


def test_search_and_retraining_are_looked_at_each(capsys) -> None:
    told = found(capsys, *SMALL, "strategy.learning_rate=1e30", "retrain.learning_rate=1e30")
    assert ["the search" in told[0], "the retraining" in told[1], len(told)] == [True, True, 2]

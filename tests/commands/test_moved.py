"""A run is gone on with from another folder, and when its data have moved."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.cli.main import main
from nasrun.config.compose import to_typed
from nasrun.config.identity import decisive
from nasrun.config.schema import SearchConfig
from nasrun.launch import places
from nasrun.runs.checkpoint import Checkpoint
from tests.commands.pictures import without_pictures
from tests.commands.refusal import refused
from tests.compose import composed
from tests.jobs import job

QUICK = [
    "space=toy", "dataset=npz", "dataset.file=data/a.npz", "budget=smoke", "retrain=none",
    "population.size=2", "strategy.num_starts=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A folder with data, and one beside it."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(home)
    without_pictures(monkeypatch)
    write(Path("data/a.npz"), 0)
    return home


def write(path: Path, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (64, 8, 8, 1), np.uint8)
    labels = np.arange(64) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


@pytest.fixture
def interrupted(home, monkeypatch) -> Path:
    """A search that was broken off after its second epoch."""
    return broken_off(monkeypatch, "run", "search", *QUICK, "hydra.run.dir=run")


def broken_off(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> Path:
    original, count = Checkpoint.save, [0]

    def save(self: Checkpoint, *arguments: Any, **keywords: Any) -> None:
        original(self, *arguments, **keywords)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save)
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
    assert stopped.value.code == 130
    return Path(name).absolute()


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"])


@pytest.mark.processes
def test_from_another_folder(interrupted: Path, monkeypatch) -> None:
    monkeypatch.chdir("../elsewhere")
    main(["resume", str(interrupted)])
    assert status(interrupted) == "done"


def test_a_record_of_an_earlier_version_tells_its_folder_too(
    interrupted: Path, monkeypatch
) -> None:
    record = json.loads((interrupted / "run.json").read_text())
    assert record.pop("cwd") == str(Path.cwd())
    (interrupted / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir("../elsewhere")
    main(["resume", str(interrupted)])
    assert status(interrupted) == "done"


@pytest.mark.processes
def test_data_that_have_moved(interrupted: Path, monkeypatch, capsys) -> None:
    shutil.move("data/a.npz", "../elsewhere/b.npz")
    monkeypatch.chdir("../elsewhere")
    error = refused(capsys, "resume", str(interrupted))
    assert f"where it has moved, type nasrun resume {interrupted} dataset.file=" in error
    write(Path("c.npz"), 1)
    error = refused(capsys, "resume", str(interrupted), "dataset.file=c.npz")
    assert "c.npz holds other images and labels than" in error
    error = refused(capsys, "resume", str(interrupted), "seed=3")
    assert "what can be said anew is where its files are now: dataset.file" in error
    assert status(interrupted) == "interrupted"
    path = broken_off(monkeypatch, "x", "resume", str(interrupted), "dataset.file=b.npz")
    assert path
    os.chdir(interrupted)
    main(["resume", "."])  # which knows where they are
    assert status(interrupted) == "done"


@pytest.mark.processes
def test_a_sweep_and_its_jobs_that_had_not_begun(monkeypatch, capsys) -> None:
    name = "hydra.sweep.dir=s"
    sweep = broken_off(monkeypatch, "s", "search", "-m", *QUICK, "seed=0,1", name)
    shutil.move("data", "../moved")
    monkeypatch.chdir("../elsewhere")
    main(["resume", str(sweep), "dataset.file=../moved/a.npz"])
    assert [status(job(sweep, number)) for number in (0, 1)] == ["done", "done"]
    assert json.loads((job(sweep, 1) / "run.json").read_text())["cwd"] == str(sweep.parent)


@pytest.mark.processes
def test_a_run_is_repeated_from_another_folder(interrupted: Path, monkeypatch) -> None:
    monkeypatch.chdir("../elsewhere")
    main(["search", "--from", str(interrupted), "hydra.run.dir=again"])
    again = json.loads(Path("again/run.json").read_text())
    assert again["data"] == json.loads((interrupted / "run.json").read_text())["data"]


def test_where_files_are_does_not_change_which_run_it_is() -> None:
    config = composed([*QUICK])
    plain, moved = (
        to_typed(config, SearchConfig),
        to_typed(config, SearchConfig, places={"dataset.file": "/elsewhere/a.npz"}),
    )
    assert decisive(plain) == decisive(moved)
    assert moved.dataset.places == {"file": "/elsewhere/a.npz"}
    assert moved.evaluator.places == {}


def test_every_setting_that_names_a_file_or_folder_can_be_said_anew() -> None:
    """Of all plug-ins; a new one that forgets to declare it fails here."""
    for dataset in ("npz", "imagefolder", "imagenet", "imagenet16", "cifar10"):
        found = dict(places.named(composed([f"dataset={dataset}"])))
        assert {"dataset.file", "dataset.root"} & {*found}, dataset
    found = dict(
        places.named(composed(["strategy=random", "space=nasbench201", "evaluator=table"]))
    )
    assert "evaluator.file" in found


def test_what_is_no_path_is_left_alone(tmp_path) -> None:
    """A published name, a benchmark, an absolute path, and what is not there."""
    (tmp_path / "nasbench201").mkdir()
    (tmp_path / "random").mkdir()
    (tmp_path / "cells.py").touch()
    config = composed(["strategy=random", "space=nasbench201", "evaluator=table"])
    config.evaluator.file = "nasbench201"
    assert places.now(config, tmp_path, {}) == {}
    for text, expected in (
        ("random", None), ("darts_v2", None), (str(tmp_path), None), ("~/x", None),
        ("cells.py", f"{tmp_path}/cells.py"), ("cells.py:A", f"{tmp_path}/cells.py:A"),
    ):  # fmt: skip
        retrain = composed([f"genotype='{text}'"], "retrain")
        assert places.now(retrain, tmp_path, {}).get("genotype") == expected

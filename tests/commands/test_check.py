"""`nasrun check`: a run in miniature finds what would end a run, and forecasts what it takes."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasrun.check import memory
from nasrun.cli.main import main
from nasrun.commands import check
from tests import made_images
from tests.commands.pictures import without_pictures

QUICK = ["space=toy", "budget=smoke", "retrain=smoke"]
SMALL = [*QUICK, "dataset=synthetic", "dataset.num_train=64", "dataset.batch_size=16",
         "retrain.batch_size=16"]  # fmt: skip
RETRAIN = ["genotype=random", "space=toy", "retrain=smoke"]
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
    words = ["dataset=imagenet", "dataset.root=pictures", "dataset.image_size=16"]
    return [*RETRAIN, *words, "dataset.workers=0", "dataset.batch_size=4"]


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
    words = ["dataset=synthetic", "retrain.channels=512", "retrain.cells=1"]
    return ["genotype=random", "space=nasbench201", *words]


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
    (diverging_predictor, ["loss of the predictor", "lower predictor.", "head_learning_rate"]),
    (huge_network, ["parameters", "and 953.7 MB are free", "retrain.channels or retrain.cells"]),
    (full_disk, ["disk space", "9.8 kB are free", "hydra.run.dir"]),
    (unwritable_folder, ["file/run cannot be used", "hydra.run.dir"]),
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
    words = ["fitness.zetta=1", "strategy.xi=abc", "dataset=npz", "budget.evaluations=3"]
    told = found(capsys, *words, "retrain.stem=x", "hydra.run.dir=file/run")
    keys = ["fitness.zetta", "cannot be used", "budget.evaluations=3", "retrain.stem=x",
            "strategy.xi=abc", "dataset.file=null"]  # fmt: skip
    assert [any(key in problem for problem in told) for key in keys] == [True] * len(keys)
    assert len(told) == len(keys)


def test_search_and_retraining_are_looked_at_each(capsys) -> None:
    told = found(capsys, *SMALL, "strategy.learning_rate=1e30", "retrain.learning_rate=1e30")
    assert ["the search" in told[0], "the retraining" in told[1], len(told)] == [True, True, 2]


# ---------------------------------------------------------------------------- what works


def figures(told: str) -> dict[str, str]:
    """The first word of each line of a forecast, and the rest."""
    return {line.split("  ")[0]: line.partition("  ")[2].strip() for line in told.splitlines()}


def test_a_run_that_works_has_a_forecast(capsys) -> None:
    told = figures(checked(capsys, *SMALL, "budget.epochs=30"))
    assert "everything works: space=toy" in " ".join(told)
    assert told["search"].endswith("30 epochs, of which 3 were rehearsed")
    assert told["retraining"].endswith("2 epochs, of which 2 were rehearsed")
    assert {"together", "memory", "disk"} <= {*told}
    assert "one label" not in told


def test_labels_and_floors_are_part_of_it(capsys) -> None:
    told = figures(checked(capsys, *LABELS, "floor=true", "retrain=none"))
    assert told["search"].endswith("4 children, of which 4 were rehearsed")
    assert {"floor ridge_evolution", "floor gp_evolution", "floor local_search"} <= {*told}
    assert "retraining" not in told


def test_candidates_of_workers_are_rehearsed_here(capsys, monkeypatch) -> None:
    monkeypatch.setattr("nasrun.compute.workers.Workers.answers", None)  # nobody starts any
    told = figures(checked(capsys, *LABELS, "evaluator.workers=2", "retrain=none"))
    assert told["search"].endswith("4 children, of which 4 were rehearsed")
    assert "with 2 workers, " in told["memory"]


def test_a_retraining_alone(capsys) -> None:
    told = figures(checked(capsys, *RETRAIN, "dataset=synthetic", "retrain.validation=0.25"))
    assert "search" not in told
    assert told["retraining"].endswith("2 epochs, of which 2 were rehearsed")


def test_of_a_sweep_each_shape_is_rehearsed_once(capsys) -> None:
    words = [*SMALL, "retrain=none", "seed=0,1", "fitness.zeta=0.4,1.0", "population.size=2,4"]
    told = checked(capsys, "-m", *words)
    assert told.count("everything works") == 2
    assert told.count("and 3 more like it") == 2
    assert "8 jobs, one after the other: " in told


def test_a_mistake_in_some_jobs_of_a_sweep(capsys) -> None:
    (problem,) = found(capsys, "-m", *SMALL, "retrain=none", "seed=0,1", "population.size=1,2")
    assert "population.size=1 must be at least 2" in problem
    assert problem.endswith("(jobs 0, 2)")


def test_a_folder_that_holds_a_run(capsys) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    (problem,) = found(capsys, *RETRAIN, "dataset=synthetic", "hydra.run.dir=run")
    assert "run holds a run already" in problem


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*SMALL, "retrain.validation=0.01"], "retrain.validation=0.01 is not possible"),
        ([*RETRAIN, "dataset=synthetic", "retrain.validation=0.999"], "retrain.validation=0.999"),
        ([*SMALL, "hydra.run.dir=/proc/run"], "/proc/run cannot be used"),
        ([*QUICK, "seed=-1", "dataset=npz"], "2 problems:\n- seed=-1 must be"),
    ],
    ids=range(4),
)
def test_what_can_be_seen_at_the_door_is(words: list[str], sentence: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["retrain" if "genotype=random" in words else "search", *words])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["experiment=references_cifar10"], "retrain"),
        (["-m", "experiment=egnas_retrain_seeds", "seed=0"], "retrain"),
        (["+experiment=egnas_imagenet_transfer"], "retrain"),
        (["experiment=references_cifar10", "strategy=egnas"], "search"),  # no retraining has one
        (["experiment=egnas_cifar10"], "search"),
        (["experiment=tutorial_digits", "retrain=none"], "search"),
        (["experiment=my_own"], "search"),
        (["dataset=cifar10", "retrain=darts600"], "search"),
    ],
    ids=" ".join,
)
def test_the_recipe_says_what_is_checked(words: list[str], command: str) -> None:
    assert check._command(words) == command


def test_a_check_of_an_earlier_retraining(capsys) -> None:
    """`--from` alone says that it is one."""
    words = [*RETRAIN, "dataset=synthetic", "dataset.num_train=64"]
    main(["retrain", *words, "hydra.run.dir=earlier"])
    capsys.readouterr()
    before = files()
    main(["check", "--from=earlier"])
    assert files() == before
    assert "every phase was run" in capsys.readouterr().out

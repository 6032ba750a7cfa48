"""The ImageNet recipes on a small made folder, from the search to the test figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nasrun.cli.main import main
from nasrun.engine.retrain import top_accuracy
from tests import made_images

SMALL = ["budget=smoke", "retrain=smoke", "retrain.channels=4", "dataset.image_size=32"]
SUPERNET = [
    "budget.epochs=2",
    "population.size=2",
    "space.channels=4",
    "space.cells=2",
    "space.partial_channels=2",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_images.imagenet(tmp_path_factory.mktemp("imagenet"), classes=6, train=8, val=2)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_direct_search_and_retraining(made: Path, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "run"
    recipe = ["experiment=egnas_imagenet", *SMALL, *SUPERNET]
    main(["search", *recipe, f"dataset.root={made}", f"hydra.run.dir={folder}"])
    result = read(folder / "result.json")
    assert (result["dataset"], result["scorings"]) == ("imagenet", 5 * 2 + 1 + 5 + 5 + 3)
    retrain = result["retrain"]
    assert 0 <= retrain["test_accuracy"] <= retrain["test_top5_accuracy"] <= 1
    assert retrain["test_top5_accuracy"] * 12 % 1 == pytest.approx(0)
    assert f"top five {retrain['test_top5_accuracy']:.2%}, macro F1" in capsys.readouterr().out


def test_transfer_of_a_published_cell(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recipe = ["experiment=egnas_imagenet_transfer", "genotype=eg_nas_cifar10", *SMALL[1:]]
    imagenet = ["retrain.stem=imagenet", "retrain.schedule=linear", "retrain.warmup_epochs=1"]
    main(["retrain", *recipe, *imagenet, f"dataset.root={made}", f"hydra.run.dir={folder}"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == [0.1, 0.05]
    assert "test_top5_accuracy" in read(folder / "result.json")["retrain"]


def test_a_broken_picture_ends_a_run_with_one_sentence(tmp_path: Path, capsys: Any) -> None:
    made_images.imagenet(tmp_path / "made", train=4, val=1)
    bad = tmp_path / "made" / "val" / "n00000001" / "val_0.JPEG"
    bad.write_bytes(bad.read_bytes()[:300])
    where = [f"dataset.root={tmp_path / 'made'}", f"hydra.run.dir={tmp_path / 'run'}"]
    with pytest.raises(SystemExit) as stopped:
        main(["retrain", "genotype=eg_nas_cifar10", "dataset=imagenet", *SMALL[1:], *where])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{bad} is not a readable picture" in last
    assert read(tmp_path / "run" / "run.json")["status"] == "failed"


def test_top_accuracies_by_hand() -> None:
    logits_NK = torch.tensor([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5]])
    labels_N = torch.tensor([0, 1, 1])  # first; fifth; sixth
    assert top_accuracy(logits_NK, labels_N, 1) == pytest.approx(1 / 3)
    assert top_accuracy(logits_NK, labels_N, 5) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "dataset=imagenet"], "dataset.root=null must be a folder with train and val"),
        (["search", "dataset=imagenet16"], "type nasrun data import imagenet16 FOLDER"),
        (["search", "space.stem=vit"], "space.stem=vit must be cifar or imagenet"),
        (["search", "retrain.schedule=step"], "retrain.schedule=step must be cosine or linear"),
        (
            ["retrain", "experiment=egnas_cifar10", "genotype=darts_v2"],
            "experiment=egnas_cifar10 is none of nasrun retrain, which has no group strategy",
        ),
    ],
    ids=str,
)
def test_mistakes(arguments: list[str], sentence: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, f"hydra.run.dir={tmp_path / 'run'}"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1

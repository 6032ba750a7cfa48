"""Users' mistakes: one sentence, exit code 2, nothing started and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.cli.main import main
from nasrun.genotypes.darts import darts_genotype


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments: str) -> str:
    """The sentence on standard error; checks that nothing else happened."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured.err
    assert captured.err.startswith("nasrun: ")
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("outputs").exists()
    return captured.err


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["strategy=egnass"], ["strategy=egnass", "egnas"]),
        (["fitness.zetta=1"], ["fitness.zetta", "fitness.zeta"]),
        (["+=/etc/passwd"], ["'+=/etc/passwd' has no key"]),  # fuzz --seed 181732121, trial 417
        (["+@a=x"], ["'+@a=x' has no key"]),
        (["evaluator=\ud800"], ["'evaluator=\\ud800' holds a letter"]),  # trial 583
        (["space=a\x00b"], ["'space=a\\x00b' holds a letter"]),  # trial 658
        (["optimizer=adam"], ["optimizer"]),
        (["fitness.zeta=abc"], ["fitness.zeta=abc", "number"]),
        (["fitness.eta=nan"], ["fitness.eta=nan", "finite"]),
        (["fitness.zeta=-inf"], ["fitness.zeta=-inf", "finite"]),
        (["population.size=1"], ["population.size=1", "at least 2"]),
        (["population.size=2.5"], ["population.size", "2.5"]),
        (["space.channels=15", "space.partial_channels=4"], ["space.channels=15", "=4"]),
        (["space.operations=[sep_conv_3x3,sepconv]"], ["sepconv", "sep_conv"]),
        (["strategy.direction=sideways"], ["strategy.direction=sideways", "delta"]),
        (["strategy._target_=os.system"], ["os.system", "refused"]),
        (["seed=-1"], ["seed=-1"]),
        (["seed=abc"], ["seed=abc", "whole number"]),
        (["budget.epochs=0"], ["budget.epochs=0"]),
        (["budget.evaluations=9"], ["budget.evaluations=9", "never reads"]),
        (["device=gpu"], ["device=gpu", "cuda"]),
        (["precision=half"], ["precision=half", "bfloat16"]),
        (["retrain.epochs=-1"], ["retrain.epochs=-1"]),
        (["retrain.validation=1.5"], ["retrain.validation=1.5"]),
        (["fitness.zeta=[1"], ["fitness.zeta=[1"]),
        (["dataset=npz"], ["dataset.file"]),
        (["dataset=npz", "dataset.file=missing.npz"], ["missing.npz"]),
        (["dataset=cifar10"], ["dataset.download=true"]),
        (["dataset.limit=3"], ["dataset.limit=3"]),
        (["experiment=paper"], ["experiment=paper", "egnas_cifar10"]),
        (["strategy=bananas", "predictor=null"], ["predictor=null is not possible: leave", "dcl"]),
        (["strategy=darts", "evaluator=train"], ["evaluator=train does not score: type"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_search(capsys, overrides: list[str], words: list[str]) -> None:
    sentence = refused(capsys, "search", "space=darts", *overrides)
    for word in words:
        assert word in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu(capsys) -> None:
    assert "device=cpu" in refused(capsys, "search", "device=cuda")


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {
        "x_train": rng.integers(0, 255, (12, 8, 8, 1), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 255, (6, 8, 8, 1), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {**made, **changes}


def refused_npz(capsys, **changes: np.ndarray) -> str:
    np.savez("data.npz", **arrays(**changes))
    return refused(capsys, "search", "dataset=npz", "dataset.file=data.npz")


def test_a_file_that_is_no_npz(capsys) -> None:
    Path("data.npz").write_text("not an archive")
    assert "data.npz" in refused(capsys, "search", "dataset=npz", "dataset.file=data.npz")


def test_a_file_that_was_cut(capsys) -> None:
    np.savez("data.npz", **arrays())
    content = Path("data.npz").read_bytes()
    Path("data.npz").write_bytes(content[: len(content) // 2])
    assert "data.npz" in refused(capsys, "search", "dataset=npz", "dataset.file=data.npz")


def test_labels_out_of_range(capsys) -> None:
    assert "-1" in refused_npz(capsys, y_train=np.arange(12) % 3 - 1)


def test_test_labels_that_training_lacks(capsys) -> None:
    assert "y_test" in refused_npz(capsys, y_test=np.arange(6))


def test_nan_in_the_images(capsys) -> None:
    x_train, x_test = np.zeros((12, 8, 8, 1), np.float32), np.zeros((6, 8, 8, 1), np.float32)
    x_train[3] = np.nan
    assert "x_train" in refused_npz(capsys, x_train=x_train, x_test=x_test)


def genotype_file(**cells: list[tuple[str, int]]) -> str:
    pairs = {"normal": [], "reduce": []} | cells
    good = [("skip_connect", 0), ("sep_conv_3x3", 1)] * 4
    content = darts_genotype({name: pairs[name] or good for name in pairs}).to_json()
    Path("cell.json").write_text(json.dumps(content))
    return "genotype=cell.json"


def test_a_genotype_with_an_unknown_operation(capsys) -> None:
    source = genotype_file(normal=[("skip_connect", 0), ("sepconv3", 1)] * 4)
    assert "sepconv3" in refused(capsys, "retrain", source)


def test_a_genotype_with_a_wrong_edge(capsys) -> None:
    source = genotype_file(reduce=[("skip_connect", 0), ("sep_conv_3x3", 0)] * 4)
    assert "reduce" in refused(capsys, "retrain", source)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=__import__('os').system('touch owned'), reduce=[])",
        "Genotype(normal=[('skip_connect', 0)], reduce=[(lambda: 1)()])",
        "__import__('os').system('touch owned')",
        "Genotype(normal=" + "[" * 5000,
        '{"space": "darts", "cells": {"normal": {"nodes": [], "edges": [["x", 0, 1e99]]}}}',
        '{"space": "../../../etc/passwd", "cells": {"c": {"nodes": ["a"], "edges": []}}}',
        "|nor_conv_3x3~0|+|none~0|",
    ],
    ids=range(7),
)
def test_a_hostile_genotype_is_read_and_refused(capsys, text: str) -> None:
    Path("cell.txt").write_text(text)
    refused(capsys, "retrain", "genotype=cell.txt")
    assert not Path("owned").exists()


def test_a_genotype_that_is_not_there(capsys) -> None:
    assert "nowhere" in refused(capsys, "retrain", "genotype=nowhere.json")


def test_retrain_without_a_genotype(capsys) -> None:
    assert "genotype" in refused(capsys, "retrain")


def test_an_unknown_command(capsys) -> None:
    assert "search" in refused(capsys, "serach")


def test_resuming_what_is_no_run(capsys) -> None:
    Path("empty").mkdir()
    assert "empty" in refused(capsys, "resume", "empty")
    assert "nowhere" in refused(capsys, "resume", "nowhere")

"""The result of a run: into a file and back, and what is not one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.errors import UsageError
from nasrun.protocols.result import (
    Accuracies,
    AgainstFloors,
    Control,
    FrontMember,
    OneShot,
    Ranked,
    Result,
    Retrained,
    TableEntry,
)
from nasrun.runs.result_file import read_result
from nasrun.spaces.nasbench201 import NasBench201

SPACE = NasBench201(channels=4, cells=1, partial_channels=1)
GENOTYPE = SPACE.sample(np.random.default_rng(0))
LEAST = Result(space="nasbench201", dataset="digits", seed=3, genotype=GENOTYPE)
WHOLE = replace(
    LEAST,
    strategy="egnas_paper",
    front=(FrontMember(genotype=GENOTYPE, values={"val_error": 0.1, "flops": 5.0}),),
    search_val_accuracy=0.5,
    table=TableEntry(
        file="t.npz", signal="validation accuracy", val_accuracy=None, test_accuracy=0.9,
        regret=0.1, percentile=99.0, datasets={"a": Accuracies(val_accuracy=0.1, test_accuracy=1)},
        control=Control(name="skip", val_accuracy=0.2, test_accuracy=0.3, percentile=1.0),
    ),
    one_shot=OneShot(loss_tau=0.3),
    predictor=Ranked(held_out_tau=0.4),
    floor=AgainstFloors(strategies={"random": 0.25}, best="random", beaten=True, by=0.25),
    warnings=("alpha hardly moves",),
)  # fmt: skip


@pytest.mark.parametrize("result", [LEAST, WHOLE])
def test_a_result_survives_its_file(result: Result, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result.to_json()))
    assert read_result(tmp_path) == result


def test_the_accuracy_on_test_data_is_that_of_the_network_before_that_of_the_table() -> None:
    network = Retrained(
        epochs=1, val_accuracy=None, test_accuracy=0.7, macro_f1=0.6, params=5, flops=6
    )
    assert LEAST.test_accuracy is None
    assert WHOLE.test_accuracy == 0.9
    assert replace(WHOLE, retrain=network).test_accuracy == 0.7


def test_a_file_of_an_earlier_version_is_read() -> None:
    """Without the keys that came later, and with some that nobody knows any more."""
    old = {key: LEAST.to_json()[key] for key in ("space", "dataset", "seed", "genotype")}
    assert Result.from_json({**old, "forgotten": [1]}) == LEAST


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"seed": "3"},
        {"seed": True},
        {"search_val_accuracy": "high"},
        {"warnings": "all of them"},
        {"genotype": {"space": "x"}},
        {"retrain": {"epochs": 3}},
        {"floor": {"strategies": [], "best": "a", "beaten": True, "by": 0.1}},
    ],
    ids=str,
)
def test_what_is_no_result_is_refused_by_name(content: Any, tmp_path: Path) -> None:
    whole = {**LEAST.to_json(), **content} if content else content
    (tmp_path / "result.json").write_text(json.dumps(whole))
    with pytest.raises(UsageError, match=r"result\.json is not the result of a run|genotype"):
        read_result(tmp_path)

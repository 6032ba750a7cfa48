"""Every strategy, the supernets, retrainings and tables do what they did when they were recorded.

Genotypes and labels are compared exactly, and figures with a tolerance; see `deviations` for what
other processors may do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.trajectories import (
    ALIKE,
    FOLDER,
    Case,
    cases,
    deviations,
    differences,
    read,
    trajectory,
)

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_trajectory_is_as_recorded(case: Case, tmp_path: Path) -> None:
    if case.missing:
        pytest.skip(case.missing)
    assert case.file.is_file(), f"python tests/golden/record.py {case.name} records it"
    assert deviations(read(case), trajectory(case, tmp_path)) == []


def test_each_recording_belongs_to_a_case() -> None:
    files = set(FOLDER.iterdir())
    assert files == {case.file for case in CASES}


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ({"a": [0.5]}, {"a": [0.5002]}),
        ({"a": 1}, {"a": 2}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}),
        ({"a": 0.0}, {}),
        ({}, {"a": 0.0}),
        ({"a": 1.0}, {"a": float("nan")}),
    ],
    ids=str,
)
def test_what_counts_as_a_difference(recorded: object, found: object) -> None:
    assert len(list(differences(recorded, found, ALIKE))) == 1


def test_elsewhere_a_search_is_compared_up_to_its_first_prediction() -> None:
    steps = [{"labels": 1.0}, {"labels": 2.0, "predictor_tau": 0.5}]
    recorded = {"made_with": "x", "steps": steps, "labels": [["a", 0.1], ["b", 0.2]], "front": [1]}
    found = {**recorded, "labels": [["a", 0.1], ["c", 0.2]], "front": [2]}
    assert len(deviations(recorded, found)) == 2
    assert deviations(recorded, {**found, "made_with": "y"}) == []
    found["labels"] = [["b", 0.2], ["a", 0.1]]
    assert len(deviations(recorded, {**found, "made_with": "y"})) == 2

"""The tracker of the page "record runs with MLflow or trackio", in an empty folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.documents.pages import run, write_files
from tests.documents.test_documents import ROOT, blocks, commands

PAGE = ROOT / "docs" / "how-to" / "trackers.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(PAGE, tmp_path_factory.mktemp("mine"))


def test_a_tracker_from_outside_records_what_the_run_does(folder: Path) -> None:
    verb, words = [one for text in blocks(PAGE, "sh") for one in commands(text)][-1]
    done = run(folder, "nasrun", verb, *words, "device=cpu", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("figures/*.csv")
    with file.open() as lines:
        found = {(int(step), name): float(value) for step, name, value in csv.reader(lines)}
    with (folder / "run" / "metrics.jsonl").open() as lines:
        for line in map(json.loads, lines):
            phase, step = line.pop("phase"), line.pop("step")
            for name, value in line.items():
                assert found.pop((step, f"{phase}/{name}")) == value
    result = json.loads((folder / "run" / "result.json").read_text())
    assert found[0, "final/test_accuracy"] == result["retrain"]["test_accuracy"]
    assert json.loads((folder / "run" / "tracker.json").read_text()) == {"run": file.stem}


def test_the_contract_of_the_page_is_kept(folder: Path) -> None:
    done = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "test_csv_tracker.py")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout

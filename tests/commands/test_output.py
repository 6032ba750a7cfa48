"""Output that cannot be written does not change how a run ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasrun.cli.main import main
from tests.commands.refusal import refused

REPOSITORY = Path(__file__).resolve().parents[2]
QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "dataset.num_test=32",
    "budget=smoke", "retrain=none", "population.size=4",
]  # fmt: skip


def run_in(folder: Path, redirection: str, *arguments: str, **environment: str):
    """The program in a process of its own, its streams as a shell would redirect them."""
    program = [sys.executable, "-m", "nasrun", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *program],
        cwd=folder, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp1252"])
def test_letters_that_the_terminal_lacks_are_written_in_another_way(
    encoding: str, tmp_path: Path
) -> None:
    done = run_in(tmp_path, "", "show", "darts_v2", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"space darts" in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("redirection", [">/dev/full", ">&- 2>&-"])
def test_a_run_whose_output_is_lost_is_done_all_the_same(redirection: str, tmp_path: Path) -> None:
    place = f"hydra.run.dir={tmp_path}/run"
    done = run_in(tmp_path, redirection, "search", *QUICK, place, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"


def test_a_listing_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    done = run_in(tmp_path, ">/dev/full", "list", "strategies")
    assert done.returncode == 1
    assert done.stderr == (b"nasrun: standard output cannot be written: No space left on device\n")


def test_an_interval_is_no_sweep(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, "search", "-m", *QUICK, "seed=interval(0,3)")
    assert "seed=interval(0,3) has no steps" in message
    assert "seed=range(0,3)" in message


def test_the_streams_are_given_back(capsys) -> None:
    before = sys.stdout, sys.stderr
    main(["--version"])
    assert (sys.stdout, sys.stderr) == before

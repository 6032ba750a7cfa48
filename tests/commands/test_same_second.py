"""Runs, sweeps and reports that are started in the same second each get a folder of their own."""

from __future__ import annotations

import importlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nasrun.cli.main import main
from nasrun.errors import UsageError
from nasrun.runs.folder import InUse, RunFolder, Taken, new_folder, require_no_run
from tests.commands.pictures import without_pictures
from tests.made_runs import make_run

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none",
    "population.size=2", "strategy.num_starts=1",
]  # fmt: skip
SECOND = "2026-01-31/12-00-00"


@pytest.fixture(autouse=True)
def _a_clock_that_stands(tmp_path, monkeypatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 1, 31, 12, tzinfo=tz)

    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    # by its name in sys.modules: `nasrun.report` is also a function
    monkeypatch.setattr(importlib.import_module("nasrun.report.files"), "datetime", Clock)
    monkeypatch.setattr("hydra.core.utils.datetime", Clock)


def takers(count: int, path: Path) -> list[str]:
    """What so many processes that begin together get, each of which keeps it until all have one."""
    begin, started = os.pipe()
    got, told = os.pipe()
    end, ended = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                os.close(started)
                os.close(ended)
                os.read(begin, 1)  # nothing comes: the other end is closed for all at once
                with new_folder(path, require_no_run, is_default=True) as folder:
                    os.write(told, f"{folder.path.name}\n".encode())
                    os.read(end, 1)
            finally:
                os._exit(0)
        children.append(child)
    os.close(told)
    os.close(started)
    with os.fdopen(got) as answers:
        found = [answers.readline().strip() for _ in range(count)]
    os.close(ended)
    for child in children:
        os.waitpid(child, 0)
    for descriptor in (begin, end):
        os.close(descriptor)
    return sorted(found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking, from Python 3.12 on
def test_of_four_that_start_at_once_each_gets_a_folder(tmp_path) -> None:
    assert takers(4, tmp_path / "run") == ["run", "run-2", "run-3", "run-4"]


@pytest.mark.processes
def test_equal_searches_of_one_second_both_succeed() -> None:
    for name in ("", "-2"):
        main(["search", *QUICK])
        folder = Path(f"outputs/{SECOND}-toy-egnas-s0{name}")
        assert json.loads((folder / "run.json").read_text())["status"] == "done"
        hydra = OmegaConf.load(folder / ".hydra/hydra.yaml").hydra
        assert hydra.runtime.output_dir == str(folder.absolute())


@pytest.mark.processes
def test_equal_sweeps_of_one_second_are_two(capsys) -> None:
    """One of their jobs is refused; where all are, no sweep begins."""
    for name in ("", "-2"):
        with pytest.raises(SystemExit):
            main(["search", "-m", *QUICK, "strategy.sigma=1,-1", "retrain=none"])
        home = f"outputs/sweeps/{SECOND}{name}"
        assert f"2 jobs in {home}: 1 done, 1 failed" in capsys.readouterr().out
        (refused,) = Path(home).glob("1-*/run.json")
        assert json.loads(refused.read_text())["error"].startswith("strategy.sigma=-1")


def test_reports_of_one_second_are_two() -> None:
    make_run(Path("run"))
    for name in ("", "-2"):
        main(["report", "run"])
        assert Path(f"outputs/reports/{SECOND}{name}/report.html").is_file()


def test_a_folder_that_a_person_names_is_refused_when_it_is_taken(tmp_path) -> None:
    home = tmp_path / "run"
    with new_folder(home, require_no_run, is_default=False) as run:
        run.start({})
    with pytest.raises(Taken), new_folder(home, require_no_run, is_default=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_in_use_is_passed_over_and_its_owner_not_to_be_harmed(
    tmp_path, monkeypatch
) -> None:
    """A lock keeps out other processes only, so one is pretended."""
    original = RunFolder.__enter__

    def enter(self: RunFolder) -> RunFolder:
        if self.path.name == "run":
            raise InUse("in use")
        return original(self)

    monkeypatch.setattr(RunFolder, "__enter__", enter)
    with new_folder(tmp_path / "run", require_no_run, is_default=True) as run:
        assert run.path == tmp_path / "run-2"


def test_a_place_that_cannot_be_written_is_told_and_no_other_is_looked_for(tmp_path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="cannot write in"),
        new_folder(tmp_path / "file" / "run", require_no_run, is_default=True),
    ):
        pass

"""Jobs that run at once: the same results, folder by folder, as one after the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nasrun.cli.main import main
from nasrun.launch.shares import share_cores
from tests.jobs import job

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none",
]  # fmt: skip
AT_ONCE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


HALF_SOUND = ("population.size=2,1", "seed=0,1")  # 1 is too small


def sweep(folder: str, *words: str, swept: Sequence[str] = HALF_SOUND) -> int:
    """Four jobs, two of which are sound unless others are asked for; the exit code."""
    arguments = ["search", "-m", *QUICK, *swept]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, f"hydra.sweep.dir={folder}", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def results(folder: str) -> dict[str, Any]:
    """Status and result of each job, without times."""
    found = {}
    for path in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
        status = json.loads((path / "run.json").read_text())
        result = {}
        if (path / "result.json").exists():
            result = json.loads((path / "result.json").read_text())
        kept = {key: value for key, value in result.items() if "seconds" not in key}
        found[path.name] = (status["status"], status.get("error"), kept)
    return found


@pytest.mark.processes
def test_jobs_at_once_are_the_jobs_one_by_one(capsys) -> None:
    assert sweep("one-by-one") == 2
    assert sweep("at-once", *AT_ONCE) in (1, 2)
    expected = results("one-by-one")
    assert [status for status, *_ in expected.values()] == ["done", "done", "failed", "failed"]
    assert results("at-once") == expected
    text = capsys.readouterr().out
    assert "4 jobs in" in text
    assert "2 done, 2 failed" in text


def test_a_launcher_that_is_not_installed_names_the_extra(monkeypatch, capsys) -> None:
    hidden = [name for name in sys.modules if name.startswith("hydra_plugins.hydra_joblib")]
    for name in hidden:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        "hydra._internal.config_loader_impl.ConfigLoaderImpl.load_configuration", _as_without_it
    )
    with pytest.raises(SystemExit) as caught:
        main(["search", "-m", *QUICK, "seed=0,1", *AT_ONCE])
    assert caught.value.code == 2
    assert "python -m pip install -e '.[parallel]'" in capsys.readouterr().err


def _as_without_it(*_: object, **__: object) -> None:
    from hydra.errors import MissingConfigException

    raise MissingConfigException("no", "hydra/launcher/joblib", ["basic"])


@pytest.mark.parametrize(("workers", "threads"), [(-1, 1), (1, 8), (3, 2), (100, 1)])
def test_workers_share_the_cores(workers: int, threads: int, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    share_cores(workers)
    assert os.environ["OMP_NUM_THREADS"] == str(threads)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    share_cores(workers)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_jobs_whose_worker_dies_say_so_and_the_others_are_run(monkeypatch, capsys) -> None:
    """The first call ends as when the system kills a worker: one job was begun, three were not."""
    from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

    launched = []

    def die(_: object, overrides: list[list[str]], initial_job_idx: int) -> None:
        launched.append((len(overrides), initial_job_idx))
        if len(launched) == 1:
            begun = Path("s/0-s0")
            begun.mkdir(parents=True, exist_ok=True)
            (begun / "run.json").write_text('{"status": "running"}')
        raise ChildProcessError

    monkeypatch.setattr(JoblibLauncher, "launch", die)
    assert sweep("s", *AT_ONCE, swept=["seed=0,1,2,3"]) == 1
    assert launched == [(4, 0), (3, 1)]  # and no endless retrying
    statuses = [json.loads((job("s", number) / "run.json").read_text()) for number in range(4)]
    assert {one["status"] for one in statuses} == {"failed"}
    assert "its process was killed" in statuses[0]["error"]
    captured = capsys.readouterr()
    assert "a worker process has died: ChildProcessError" in captured.err
    assert "4 failed" in captured.out


def test_stop_on_an_error_is_not_possible_at_once(capsys) -> None:
    assert sweep("s", *AT_ONCE, "sweep.on_error=stop") == 2
    assert "leave one of them out" in capsys.readouterr().err

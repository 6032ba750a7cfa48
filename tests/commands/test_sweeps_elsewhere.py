"""Sweeps in other processes, started as a person starts them: the same results whoever runs the
jobs, one killed, put back into the queue, interrupted. Run by scripts/check after the others."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.started_sweeps import contents, ended, paused, start, statuses, steps
from tests.waiting import until

SWEEP = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "floor=false",
    "population.size=2,3", "seed=0,1",
]  # fmt: skip
SHORT = ["budget.epochs=3", "retrain=smoke"]
LONG = ["budget.epochs=40", "retrain=none"]
MODULES = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep(folder: str, *words: str) -> subprocess.Popen[str]:
    return start("search", "-m", *SWEEP, *words, f"hydra.sweep.dir={folder}")


def launched(launcher: str) -> list[str]:
    pytest.importorskip(MODULES[launcher], reason=f"hydra/launcher={launcher} is not installed")
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    return [f"hydra/launcher={launcher}", *more]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory) -> dict[str, Any]:
    """What the long sweep finds when nothing happens to it."""
    folder = str(tmp_path_factory.mktemp("left_alone") / "twin")
    assert ended(sweep(folder, *LONG))[0] == 0
    return contents(folder)


@pytest.mark.processes
def test_every_launcher_finds_the_same(tmp_path) -> None:
    assert ended(sweep("basic", *SHORT))[0] == 0
    expected = contents("basic")
    assert len(expected) >= 4 * 4
    installed = [name for name, module in MODULES.items() if importlib.util.find_spec(module)]
    assert {"joblib", "submitit_local"} <= {*installed}  # of the extra `test`; Ray is not
    for launcher in installed:
        code, text = ended(sweep(launcher, *SHORT, *launched(launcher)))
        assert (code, contents(launcher)) == (0, expected), text
        assert "job 3 is done" in text


@pytest.mark.processes
@pytest.mark.parametrize("launcher", MODULES)
def test_a_killed_job_an_interruption_and_an_end_as_if_nothing_had_been(
    launcher: str, left_alone: dict[str, Any]
) -> None:
    """Ray starts a killed job again by itself; elsewhere that job alone has failed."""
    words = launched(launcher)
    process = sweep("s", *LONG, *words)
    killed, other = paused("s", [0, 1])
    os.kill(killed, signal.SIGKILL)
    before = steps("s", 1)
    os.kill(other, signal.SIGCONT)
    until(lambda: steps("s", 1) > before + 5)
    process.send_signal(signal.SIGINT)
    code, text = ended(process)
    assert code == 130, text
    assert f"`nasrun resume s {' '.join(words)}` goes on" in text
    assert "running" not in statuses("s")
    code, text = ended(start("resume", "s", *words))
    assert code == 0, text
    assert contents("s") == left_alone


@pytest.mark.processes
def test_a_pre_empted_job_is_put_back_and_goes_on_where_it_was(
    left_alone: dict[str, Any],
) -> None:
    """On a cluster SIGTERM comes first, and then the signal by which submitit knows."""
    process = sweep("s", *LONG, *launched("submitit_local"))
    (job,) = paused("s", [0])
    before = steps("s", 0)
    os.kill(job, signal.SIGTERM)
    os.kill(job, signal.SIGCONT)
    until(lambda: steps("s", 0) > before + 1)  # it goes on nevertheless
    os.kill(job, signal.SIGUSR2)
    code, text = ended(process)
    assert code == 0, text
    assert "job 0 goes on: " in text
    assert contents("s") == left_alone

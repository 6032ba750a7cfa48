"""Sweeps in other processes, started as a person starts them: the same results whoever runs the
jobs, one killed, put back into the queue, interrupted. Run by scripts/check after the others."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import GUARD_S, until

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
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(*words: str) -> subprocess.Popen[str]:
    """`nasrun` in a process group of its own."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "nasrun", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def sweep(folder: str, *words: str) -> subprocess.Popen[str]:
    return start("search", "-m", *SWEEP, *words, f"hydra.sweep.dir={folder}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said."""
    text, _ = process.communicate(timeout=GUARD_S)
    return process.returncode, text


def launched(launcher: str) -> list[str]:
    pytest.importorskip(MODULES[launcher], reason=f"hydra/launcher={launcher} is not installed")
    more = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    return [f"hydra/launcher={launcher}", *more]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if "second" not in key and key != "cost_s"}
        return {key: without_times(one) for key, one in kept.items()}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def contents(folder: str) -> dict[str, Any]:
    """What a sweep has found, folder by folder."""
    found: dict[str, Any] = {}
    for path in sorted(Path(folder).glob("[0-9]*/*.json*")):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        values = [without_times(json.loads(line)) for line in lines]
        if path.name == "run.json":
            values = [{key: values[0].get(key) for key in ("status", "signature", "threads")}]
        found[f"{path.parent.name}/{path.name}"] = values
    return found


def statuses(folder: str) -> list[str | None]:
    paths = [Path(folder) / str(job) / "run.json" for job in range(4)]
    return [json.loads(path.read_text())["status"] if path.exists() else None for path in paths]


def steps(folder: str, job: int) -> int:
    path = Path(folder) / str(job) / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def holder(folder: str, job: int) -> int:
    """The process that works in the folder of a job."""
    return int((Path(folder) / str(job) / ".lock").read_text().split()[0])


def paused(folder: str, jobs: Sequence[int]) -> list[int]:
    """The processes of jobs, each stopped when it has done a few steps: none reaches its end while
    another one starts."""
    found: dict[int, int] = {}

    def all_stand() -> bool:
        for job in jobs:
            if job not in found and steps(folder, job) > 5:
                found[job] = holder(folder, job)
                os.kill(found[job], signal.SIGSTOP)
        return len(found) == len(jobs)

    until(all_stand)
    return [found[job] for job in jobs]


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

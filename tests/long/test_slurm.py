"""A sweep on a real cluster of SLURM, of one node on this machine, to which much happens.

    apt-get install munge slurmctld slurmd        # Debian, as root; see slurm.sh
    pytest -m slow tests/long/test_slurm.py

Its jobs are a search on the toy space; the last one holds many pictures for a test that is never
made, and so takes more memory than it may.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import job as folder_of
from tests.started_sweeps import contents, ended, holder, paused, start, statuses
from tests.waiting import until

SCRIPT = Path(__file__).with_name("slurm.sh")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
SWEEP = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "budget.epochs=120",
    "retrain=none", "floor=false", "population.size=4", "dataset.num_test=16,17,18,19,20,2000000",
]  # fmt: skip
LAUNCHER = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1",
            "hydra.launcher.timeout_min=30"]  # fmt: skip
LITTLE, MUCH = "hydra.launcher.mem_gb=1", "hydra.launcher.mem_gb=6"


def missing() -> str:
    """Why SLURM cannot be started here; empty where it can."""
    if gone := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(gone)} of SLURM not found: apt-get install munge slurmctld slurmd"
    if importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        return 'hydra-submitit-launcher is missing: pip install -e ".[slurm]"'
    return "" if os.getuid() == 0 else "munged, slurmctld and slurmd are started as root"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if reason := missing():
        pytest.skip(reason)
    folder = tempfile.mkdtemp(prefix="slurm_")  # short: the name of a socket is
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=120)
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    try:
        yield
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, timeout=120)
        del os.environ["SLURM_CONF"]
        shutil.rmtree(folder, ignore_errors=True)


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def set_node(state: str, *reason: str) -> None:
    node = slurm("sinfo", "--noheader", "--format=%n").strip()
    slurm("scontrol", "update", f"nodename={node}", f"state={state}", *reason)


def resumed(memory: str) -> subprocess.Popen[str]:
    return start("resume", "s", *LAUNCHER, memory)


def record(job: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder_of("s", job) / "run.json").read_text())
    return found


def ledger() -> list[dict[str, Any]]:
    path = Path("s/slurm.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def states(job: int) -> list[str]:
    return [line["state"] for line in ledger() if line["job"] == job]


def process_of(job: int) -> int:
    """The process of a job of which it is known that it does not run, when it does."""
    lock = folder_of("s", job) / ".lock"
    until(lambda: record(job)["status"] == "running" and bool(lock.read_text()))
    return holder("s", job)


def nobody_is_left() -> bool:
    return slurm("squeue", "--noheader") == ""


@pytest.mark.slow
def test_whatever_happens_to_a_sweep_it_ends_with_what_a_serial_one_finds(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    serial = start("search", "-m", *SWEEP, "hydra.sweep.dir=serial")
    assert ended(serial)[0] == 0

    # one worker dies, all others are pushed out by jobs of a higher rank, one takes much memory
    sweep = start("search", "-m", *SWEEP, *LAUNCHER, LITTLE, "hydra.sweep.dir=s")
    dies, *_ = paused("s", [0, 1, 2, 3])  # as many as the node has cores
    os.kill(dies, signal.SIGKILL)
    until(lambda: "FAILED" in states(0))  # else it is pushed out, too, and put back
    slurm("sbatch", "--partition=high", "--cpus-per-task=4", "--mem=100", "--wrap=true",
          "--output=/dev/null")  # fmt: skip
    code, text = ended(sweep)
    assert code == 1, text
    assert statuses("s", 6) == ["failed", "done", "done", "done", "done", "failed"], text
    assert record(0)["error"].startswith("SLURM says FAILED (NonZeroExitCode) on "), text
    assert "Killed" in record(0)["error"]
    assert "exceeded memory limit" in record(5)["error"]
    for job in (1, 2, 3):
        (log,) = Path("s/.submitit").glob(f"*_{job}/*_{job}_0_log.out")
        assert log.read_text().count("Starting with JobEnvironment") == 2

    # Ctrl-C while one of those that are left runs
    sweep = resumed(MUCH)
    process_of(0)
    sweep.send_signal(signal.SIGINT)
    code, text = ended(sweep)
    assert code == 130, text
    assert "running" not in statuses("s", 6)
    until(nobody_is_left)

    # the node is drained, so that jobs wait; then the launcher is killed, and the node is mended
    set_node("drain", "reason=the disk is sick")
    sweep = resumed(MUCH)
    until(lambda: any("the disk is sick" in line["nodes_out_of_order"] for line in ledger()))
    os.kill(sweep.pid, signal.SIGKILL)
    ended(sweep)
    set_node("resume")
    process = process_of(0)
    os.kill(process, signal.SIGSTOP)

    # what runs without a launcher is waited for
    sweep = resumed(MUCH)
    assert sweep.stdout is not None
    until(lambda: "still running in SLURM" in sweep.stdout.readline())
    os.kill(process, signal.SIGCONT)
    code, text = ended(sweep)
    assert code == 0, text
    assert contents("s") == contents("serial")
    until(nobody_is_left)


@pytest.mark.slow
def test_what_sbatch_refuses_is_recorded_in_its_words(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SWEEP[:-1], "seed=0,1", *LAUNCHER, "hydra.launcher.partition=nowhere"]
    code, text = ended(start("search", "-m", *words, "hydra.sweep.dir=s"))
    assert code == 1, text
    for job in (0, 1):
        assert "invalid partition specified: nowhere" in record(job)["error"]

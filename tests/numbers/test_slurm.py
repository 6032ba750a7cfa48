"""What SLURM says of jobs, when a job counts as ended, and what of it stands in the record."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasrun.launch import slurm
from nasrun.launch.slurm import SETTLED_SECONDS, State, Watcher


class Cluster:
    """Answers of SLURM's programs, by their name."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[int, str, str]] = {}
        self.asked: list[tuple[str, ...]] = []
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.asked.append(words)
        return subprocess.CompletedProcess(words, *self.said.get(words[0], (1, "", "not here")))

    def says(self, *lines: str) -> None:
        self.said["squeue"] = 0, "\n".join(lines), ""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    monkeypatch.setattr(slurm, "_run", made.run)
    monkeypatch.setattr(slurm, "time", made)
    return made


@pytest.fixture
def watcher(cluster: Cluster, tmp_path: Path) -> Watcher:
    made = Watcher(tmp_path)
    for job_id in ("7", "7_0", "7_1"):  # as submitit does: the array, and then its tasks
        made.register_job(job_id)
    made.follow({"7_0": 0, "7_1": 4})
    return made


def ledger(home: Path) -> list[Any]:
    return [json.loads(line) for line in (home / slurm.LEDGER).read_text().splitlines()]


def test_a_job_has_ended_when_it_is_not_put_back(cluster: Cluster, watcher: Watcher) -> None:
    """A job that is pushed out is TIMEOUT for a moment, and then waits again."""
    cluster.says("7|0|TIMEOUT|None|n1", "7|1|RUNNING|None|n1")
    assert not watcher.is_done("7_0", "force")
    cluster.now += SETTLED_SECONDS
    cluster.says("7|0|PENDING|BeginTime|", "7|1|RUNNING|None|n1")
    assert not watcher.is_done("7_0")
    cluster.says("7|0|FAILED|NonZeroExitCode|n1", "7|1|RUNNING|None|n1")
    assert not watcher.is_done("7_0", "force")
    cluster.now += SETTLED_SECONDS - 1
    assert not watcher.is_done("7_0", "force")
    cluster.now += 1
    assert watcher.is_done("7_0", "force")
    assert not watcher.is_done("7_1", "force")
    assert not watcher.is_done("7")  # the array itself, which nobody follows


def test_each_change_stands_in_the_ledger(
    cluster: Cluster, watcher: Watcher, tmp_path: Path
) -> None:
    cluster.says("7|0|RUNNING|None|n1", "7|1|PENDING|ReqNodeNotAvail, UnavailableNodes:n2|")
    cluster.said["sinfo"] = 0, "n2: the disk is sick\n", ""
    watcher.get_state("7_1", "force")
    cluster.now += 100
    watcher.get_state("7_1")
    found = [(one["job"], one["slurm_job"], one["state"], one["nodes"]) for one in ledger(tmp_path)]
    assert found == [(0, "7_0", "RUNNING", "n1"), (4, "7_1", "PENDING", "")]
    why = "ReqNodeNotAvail, UnavailableNodes:n2; n2: the disk is sick"
    assert watcher.why_they_wait() == why
    assert {one["nodes_out_of_order"] for one in ledger(tmp_path)} == {"n2: the disk is sick"}


def test_a_controller_that_is_away_has_ended_no_job(cluster: Cluster, watcher: Watcher) -> None:
    cluster.says("7|0|RUNNING|None|n1", "7|1|RUNNING|None|n1")
    watcher.is_done("7_0", "force")
    cluster.said["squeue"] = 1, "", "slurm_load_jobs error: Unable to contact slurm controller"
    for _ in range(3):
        cluster.now += 60
        assert not watcher.is_done("7_0", "force")
    assert watcher.get_state("7_0") == "RUNNING"


@pytest.mark.parametrize(
    ("accounting", "state"),
    [
        ("7_0|OUT_OF_MEMORY|None|n1\n7_1|CANCELLED by 12|None|n1\n", "OUT_OF_MEMORY on n1"),
        (None, "GONE (SLURM no longer knows it)"),
    ],
)
def test_what_squeue_has_forgotten_accounting_knows(
    accounting: str | None, state: str, cluster: Cluster, watcher: Watcher
) -> None:
    cluster.said["squeue"] = 1, "", "slurm_load_jobs error: Invalid job id specified"
    if accounting is not None:
        cluster.said["sacct"] = 0, accounting, ""
    watcher.is_done("7_0", "force")
    cluster.now += SETTLED_SECONDS
    assert watcher.is_done("7_0", "force")
    assert str(watcher.states["7_0"]) == state
    assert watcher.get_state("7_1") == ("GONE" if accounting is None else "CANCELLED")


def test_it_is_asked_seldom(cluster: Cluster, watcher: Watcher) -> None:
    """At first every 2 s, and in an hour every 30 s."""
    cluster.says("7|0|RUNNING|None|n1", "7|1|RUNNING|None|n1")
    for _ in range(3600):
        watcher.is_done("7_0")
        cluster.now += 1.0
    assert 100 < len(cluster.asked) < 150


def test_the_last_words_of_a_job(tmp_path: Path) -> None:
    log = tmp_path / "log.err"
    log.write_text(
        "Traceback of ours\n"
        "slurmstepd-n1: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-29T17:16:00 ***\n"
        "slurmstepd-n1: error: Exceeded job memory limit\n"
        "slurmstepd-n1: error: Exceeded job memory limit\n"
        "srun: Job step aborted: Waiting up to 7 seconds for job step to finish.\n"
        "srun: error: n1: task 0: Killed\n"
    )
    assert slurm.last_words(log) == (
        "slurmstepd-n1: error: Exceeded job memory limit; srun: error: n1: task 0: Killed"
    )
    assert slurm.last_words(tmp_path / "none") == ""
    assert str(State("FAILED", "NonZeroExitCode", "n1")) == "FAILED (NonZeroExitCode) on n1"


def test_only_jobs_of_this_sweep_were_left_behind(cluster: Cluster, tmp_path: Path) -> None:
    """By the script that SLURM was given, and no record of ours says so."""
    other = tmp_path.parent / f"{tmp_path.name}2"
    cluster.says(
        f"7|0|RUNNING|None|n1|{tmp_path}/.submitit/.submission_file_1.sh",
        f"7|1|PENDING|Resources||{tmp_path}/.submitit-12ab/.submission_file_2.sh",
        f"8|0|RUNNING|None|n1|{other}/.submitit/.submission_file_1.sh",
        "9|N/A|RUNNING|None|n1|(null)",
    )
    found = slurm.left_behind(tmp_path)
    assert {job_id: state.state for job_id, state in found.items()} == {
        "7_0": "RUNNING", "7_1": "PENDING",
    }  # fmt: skip


def test_jobs_are_told_before_they_are_ended(cluster: Cluster) -> None:
    cluster.says("7|0|RUNNING|None|n1")
    slurm.stop(["7_0", "7_1"], 3.0)
    verbs = [words[1] for words in cluster.asked if words[0] == "scancel"]
    assert verbs == ["--state=PENDING", "--signal=INT", "7_0"]
    assert cluster.now >= 3.0  # it did not end by itself
    slurm.stop([], 3.0)

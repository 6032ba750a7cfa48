"""Sweeps that are started as a person starts them, and what is read of them from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.jobs import job
from tests.waiting import GUARD_S, until

REPOSITORY = Path(__file__).parents[1]


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


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was said."""
    text, _ = process.communicate(timeout=GUARD_S)
    return process.returncode, text


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


def statuses(folder: str, num_jobs: int = 4) -> list[str | None]:
    paths = [job(folder, number) / "run.json" for number in range(num_jobs)]
    return [json.loads(path.read_text())["status"] if path.exists() else None for path in paths]


def steps(folder: str, number: int) -> int:
    path = job(folder, number) / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def holder(folder: str, number: int) -> int:
    """The process that works in the folder of a job."""
    return int((job(folder, number) / ".lock").read_text().split()[0])


def paused(folder: str, jobs: Sequence[int]) -> list[int]:
    """The processes of jobs, each stopped when it has done a few steps: none reaches its end while
    another one starts."""
    found: dict[int, int] = {}

    def all_stand() -> bool:
        for number in jobs:
            if number not in found and steps(folder, number) > 5:
                found[number] = holder(folder, number)
                os.kill(found[number], signal.SIGSTOP)
        return len(found) == len(jobs)

    until(all_stand)
    return [found[number] for number in jobs]

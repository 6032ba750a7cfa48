"""Measure how long `nasrun report` takes on many runs, from Enter to the last file.

The runs are made up: ten groups of equal sizes, each run with a hundred keys of configuration, a
hundred labels and twenty steps. Medians, of the clock and of the processor's time, which others at
work on the machine disturb less. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import timing

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.made_runs import make_run  # noqa: E402  # the root is no package that is installed

NUM_GROUPS = 10


def make_runs(folder: Path, num_runs: int) -> None:
    """Write the folders of runs."""
    config = {f"part{i}": {f"key{j}": 0.5 for j in range(10)} for i in range(10)}
    steps = [
        {"phase": "search", "seconds": 1.0, "labels": 5.0 * i, "best_val_accuracy": 0.5,
         "regret": 0.1, "held_out_tau": 0.5}
        for i in range(1, 21)
    ]  # fmt: skip
    for number in range(num_runs):
        setting = number % NUM_GROUPS
        make_run(
            folder / str(number), seed=number // NUM_GROUPS,
            accuracy=0.5 + 0.0001 * (number * 7919 % 1000), overrides=[f"a={setting}"],
            config={"a": setting, **config}, errors=[0.5] * 100, steps=steps,
        )  # fmt: skip


def report(runs: Path, out: Path, root: Path) -> tuple[float, float]:
    """Return seconds of the clock and of the processor that a report took."""
    command = [sys.executable, "-m", "nasrun", "report", str(runs), "--out", str(out)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=root)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, default=ROOT, help="of the code, such as an older one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        make_runs(runs, arguments.runs)
        found = [
            report(runs, Path(folder) / f"out{number}", arguments.root)
            for number in range(arguments.repeats)
        ]
    wall, spent = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"report of {arguments.runs} runs{wall:8.2f} s, {spent:.2f} s of the processor")
    known = timing.machine(torch.device("cpu"), torch.get_num_threads())
    per_1000 = 1000 / arguments.runs
    timing.close(
        {"runs": arguments.runs, "repeats": arguments.repeats, **known,
         "report_seconds_per_1000": wall * per_1000,
         "report_cpu_seconds_per_1000": spent * per_1000}
    )  # fmt: skip


if __name__ == "__main__":
    main()

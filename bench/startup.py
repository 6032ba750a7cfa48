"""Measure how long people wait before anything happens.

Commands that must answer at once, and the time from Enter to the end of the first training step of
`nasrun search` on digits, beside a bare `import torch`; in turn, medians. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import timing

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "nasrun": [],
    "nasrun --version": ["--version"],
    "nasrun search --help": ["search", "--help"],
    "nasrun list strategies": ["list", "strategies"],
    "nasrun search --cfg job": ["search", "--cfg", "job"],
}
FIRST_STEP = """
import os, sys
import nasrun.training.update as training
step = training.WeightUpdate.step
def first_and_last(self, loss):
    step(self, loss)
    os._exit(0)
training.WeightUpdate.step = first_and_last
from nasrun.cli.main import main
main()
"""


def seconds(command: list[str], **environment: str) -> float:
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=known, cwd=ROOT)
    return time.perf_counter() - start


def completion() -> float:
    return seconds(["-m", "nasrun", "-sc", "query=bash"], COMP_LINE="nasrun search strategy=")


def first_step() -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["search", f"hydra.run.dir={folder}/run"]
        return seconds(["-c", FIRST_STEP, *words])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    result = {**vars(arguments), **timing.machine(torch.device("cpu"), threads)}
    ways: dict[str, Callable[[], float]] = {
        name: partial(seconds, ["-m", "nasrun", *words]) for name, words in COMMANDS.items()
    }
    ways |= {
        "completion": completion,
        "import torch": partial(seconds, ["-c", "import torch"]),
        "first training step": first_step,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, measure in ways.items():
            times[name].append(measure())
    for name, found in times.items():
        print(f"{name:28}{statistics.median(found):8.2f} s")
        result[f"{name.removeprefix('nasrun ')}_s"] = statistics.median(found)
    each = zip(times["first training step"], times["import torch"], strict=True)
    ratio = statistics.median(step / bare for step, bare in each)
    print(f"the first training step comes after {ratio:.2f} times an import of torch")
    timing.close({**result, "first_step_ratio": ratio})


if __name__ == "__main__":
    main()

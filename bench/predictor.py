"""Measure how long predictor-guided search takes on a table, and how long reading tables takes.

Each run is a process of its own, start-up included, with an empty cache, so that the encoder is
pre-trained. Needs the tables (see `nasrun data`). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import timing

ROOT = Path(__file__).resolve().parents[1]

READ = """
import json, resource, sys, time
import numpy, torch
from nasrun.benchmarks import store
def mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = mb(), time.perf_counter()
store.load(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "mb": mb() - before, "peak_mb": mb()}))
"""


def environment(cache: str, threads: int) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_CACHE_HOME": cache,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
    }


def read_table(space: str, threads: int) -> dict[str, float]:
    command = [sys.executable, "-c", READ, space]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment("", threads)
    )
    found: dict[str, float] = json.loads(output.stdout)
    return found


def run_search(strategy: str, labels: int, threads: int) -> dict[str, float]:
    """Return the seconds of the whole process, and of the search in it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["search", f"strategy={strategy}", "space=nasbench201", "evaluator=table"]
        words += ["dataset=cifar10", f"budget.evaluations={labels}", f"hydra.run.dir={folder}/run"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "nasrun", *words],
            check=True,
            capture_output=True,
            env=environment(folder, threads),
        )
        seconds = time.perf_counter() - start
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
    return {"seconds": seconds, "search_seconds": result["search_seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--strategies", nargs="+", default=["dclenas", "ridge_evolution"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    result = {**vars(arguments), **timing.machine(torch.device("cpu"), arguments.threads)}
    print(f"{'':28}{'seconds':>12}{'memory':>15}")
    for space in ("nasbench201", "nasbench101"):
        found = read_table(space, arguments.threads)
        print(f"{'reading ' + space:28}{found['seconds']:12.2f}{found['mb']:12.0f} MB")
        result |= {f"{space}_seconds": found["seconds"], f"{space}_mb": found["mb"]}
    for strategy in arguments.strategies:
        found = run_search(strategy, arguments.labels, arguments.threads)
        print(
            f"{strategy:28}{found['seconds']:12.1f}   of which search {found['search_seconds']:.1f}"
        )
        result |= {f"{strategy}_seconds": found["seconds"]}
    timing.close(result)


if __name__ == "__main__":
    main()

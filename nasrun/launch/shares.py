"""Share the cores and GPUs of a machine among jobs that run at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nasrun.errors import UsageError

DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")  # what GPUs are called in /dev
COUNT_GPUS = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


def at_once(wanted: int | None, places: int) -> int:
    """Return how many jobs run at once; as in joblib, -1 takes all places, and -2 all but one."""
    if not wanted:
        raise UsageError(
            f"hydra.launcher.n_jobs={wanted}: type how many jobs run at once, or leave it out"
        )
    return wanted if wanted > 0 else max(1, places + 1 + wanted)


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def share_cores(num_workers: int) -> None:
    """Give the processes that are started from now on their share of the cores as threads.

    A number that the user has set in OMP_NUM_THREADS stays. With `num_workers` -1 there is a worker
    for each core.
    """
    workers = num_cores() if num_workers < 1 else num_workers
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // workers)))


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them.

    Only torch can tell, and is asked in a process of its own, where there is a driver at all.
    """
    if not any(next(Path("/dev").glob(pattern), None) for pattern in DRIVERS):
        return ()
    command = [sys.executable, "-c", COUNT_GPUS]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    count = int(answer) if answer.isdecimal() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else map(str, range(count))
    return tuple(names)[:count]

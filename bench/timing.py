"""Share what the benchmarks need: paired timings, operator calls, peak memory, the last line.

Two ways to do the same thing are timed in turn, so that a drifting machine slows both, and a ratio
is the median of the pairs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Action = Callable[[], object]
WITHOUT_KERNEL = ("empty", "_record_function", "_local_scalar_dense", "lift_fresh")


def seconds(action: Action, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Pairs:
    """Seconds of the slow and the fast way, in turn."""

    slow_s: list[float]
    fast_s: list[float]

    @property
    def ratio(self) -> float:
        each = zip(self.slow_s, self.fast_s, strict=True)
        return statistics.median(slow / fast for slow, fast in each)

    def row(self, name: str) -> str:
        slow_ms, fast_ms = (1e3 * statistics.median(one) for one in (self.slow_s, self.fast_s))
        return f"{name:28}{slow_ms:12.1f} ms{fast_ms:12.1f} ms{self.ratio:8.2f}x"


def paired(slow: Action, fast: Action, repeats: int, device: torch.device) -> Pairs:
    """Time both ways in turn, after one run of each to warm up."""
    slow(), fast()
    times = [(seconds(slow, device), seconds(fast, device)) for _ in range(repeats)]
    return Pairs([one[0] for one in times], [one[1] for one in times])


class CountCalls(TorchDispatchMode):
    """Counts operator calls that do work, those of the backward pass included.

    These are what would launch a kernel on a GPU. Views and allocations do not count.
    """

    calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        free = function.is_view or any(word in str(function) for word in WITHOUT_KERNEL)
        self.calls += not free
        return function(*args, **(kwargs or {}))


def count_calls(action: Action) -> int:
    action()
    with CountCalls() as counter:
        action()
    return counter.calls


def peak_memory_mb(measure: Callable[..., Action], *arguments: object) -> float:
    """Measure how far the resident memory of a fresh process rises during `measure(...)()`.

    `measure` must be importable.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_of, (measure, arguments))


def _peak_of(measure: Callable[..., Action], arguments: tuple[object, ...]) -> float:
    action = measure(*arguments)
    before = _resident_mb()
    action()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def _resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "device": f"{device.type} {name}".strip(),
        "processor": f"{os.cpu_count()} cores of {_processor()}",
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    """Return the model's name, as Linux knows it."""
    with suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def close(result: dict[str, Any]) -> None:
    """Print the last line: one JSON object."""
    rounded = {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in result.items()
    }
    print(json.dumps(rounded))

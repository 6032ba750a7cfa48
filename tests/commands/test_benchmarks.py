"""The benchmarks run, and their last line is what they promise. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SMALL = ["--channels", "4", "--cells", "1", "--batch", "4", "--size", "8", "--repeats", "1"]
SUPERNET = {"train_step_ratio", "forward_ratio", "operator_calls_ratio"}
POPULATION = {"population_ratio", "population_ratio_running"}


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("supernet", ["--space", "nasbench201"], SUPERNET),
        ("population", ["--population", "2"], POPULATION),
    ],
)
def test_last_line(script: str, arguments: list[str], expected: set[str]) -> None:
    command = [sys.executable, str(BENCH / f"{script}.py"), *SMALL, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(output.splitlines()[-1])
    assert expected <= set(result)
    assert all(result[key] > 0 for key in expected)

"""Measure how long people wait for the sentence that a typical mistake gets.

Prints the seconds, medians, and the sentence of each mistake of
`tests/commands/test_typical_mistakes.py`; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.commands.test_typical_mistakes import MISTAKES  # noqa: E402 - found by the line above


def sentence(words: str, folder: str) -> tuple[float, str]:
    """Make a mistake in a process of its own; return the seconds and what was said."""
    command = [sys.executable, "-m", "nasrun", *words.split()]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=known, cwd=folder, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode != 2:
        raise SystemExit(f"nasrun {words} is no mistake any more")
    return seconds, done.stderr.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    medians = {}
    with tempfile.TemporaryDirectory() as folder:
        for words in MISTAKES:
            found = [sentence(words, folder) for _ in range(repeats)]
            medians[words] = statistics.median(seconds for seconds, _ in found)
            print(f"{medians[words]:5.2f} s  nasrun {words}\n         {found[0][1]}", flush=True)
    print(json.dumps({"slowest_s": max(medians.values()), "mistakes": len(medians)}))


if __name__ == "__main__":
    main()

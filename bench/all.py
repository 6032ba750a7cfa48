"""Run every benchmark and write the table of docs/explanation/performance.md, as Markdown.

`--quick` takes small sizes, to see that all of them run. Their figures go to the terminal as they
come; the table is printed at the end and, with `--out`, written to a file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SMALL = ["--channels", "8", "--cells", "2", "--batch", "8", "--size", "16", "--repeats", "1"]
WIDE = ["--partial", "1", "--batch", "32"]
BENCH201 = ["--space", "nasbench201", "--cells", "5", "--partial", "1"]

Row = tuple[str, str, str]  # what, key of the ratio, key of the milliseconds
SUPERNET: list[Row] = [
    ("train step", "train_step_ratio", "train_step_ms"),
    ("forward", "forward_ratio", "forward_ms"),
    ("operator calls of a train step", "operator_calls_ratio", ""),
    ("memory of a train step", "memory_ratio", ""),
]
POPULATION: list[Row] = [
    ("population, batch statistics", "population_ratio", ""),
    ("population, running statistics", "population_ratio_running", ""),
]


def bench(name: str, *arguments: str) -> dict[str, Any]:
    """Run a script, show what it prints, and return its last line."""
    print(f"\n{name} {' '.join(arguments)}", flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("{"):
                print(line, end="", flush=True)
    if process.returncode != 0:
        sys.exit(f"{name} has failed")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def networks(arguments: argparse.Namespace, threads: int) -> list[str]:
    """Return lines of the table, for everything that is compared with the textbook layout."""
    common = ["--threads", str(threads), "--device", arguments.device, "--repeats", "3"]
    small = SMALL if arguments.quick else []
    population = ["--population", "2" if arguments.quick else "10"]
    memory = ["--memory"] if threads == 1 else []
    lines = []
    for title, script, extra, rows in (
        ("darts, k = 4", "supernet", memory, SUPERNET),
        ("darts, k = 1", "supernet", WIDE, SUPERNET),
        ("nasbench201", "supernet", BENCH201, SUPERNET),
        ("darts, k = 4", "population", population, POPULATION),
        ("nasbench201", "population", [*BENCH201, *population], POPULATION),
    ):
        found = bench(script, *extra, *common, *small)
        for what, key, milliseconds in rows:
            if key in found:
                ours = f"{found[milliseconds]:.0f} ms" if milliseconds else ""
                lines.append(f"| {title}: {what} | {threads} | {ours} | {found[key]:.2f}x |")
    return lines


def growth(arguments: argparse.Namespace) -> list[str]:
    found = bench("supernet", "--growth", *(SMALL if arguments.quick else ["--repeats", "2"]))
    each = [f"{name} {found['growth_' + name]:.2f}" for name in ("cells", "batch", "channels")]
    where = ", ".join(f"{key} {found[key]}" for key in ("device", "torch", "python", "date"))
    return [
        "",
        f"Growth of the train step over linear (channels: square): {', '.join(each)}.",
        f"Measured on {found['processor']}: {where}.",
    ]


def the_rest(arguments: argparse.Namespace) -> list[str]:
    small = ["--images", "32", "--batch", "16", "--repeats", "1"] if arguments.quick else []
    retrain = bench("retrain", *small, "--device", arguments.device)
    lines = [f"| retraining, images per second | 2 | | {retrain['retrain_ratio']:.2f}x |"]
    start = bench("startup", "--repeats", "1" if arguments.quick else "5")
    reported = bench("report", *(["--runs", "50", "--repeats", "1"] if arguments.quick else []))
    lines += ["", "| start | seconds |", "|---|---|"]
    lines += [f"| report of 1,000 runs | {reported['report_seconds_per_1000']:.2f} |"]
    lines += [f"| {k[:-2]} | {v:.2f} |" for k, v in start.items() if k.endswith("_s")]
    if "NASRUN_DATA" in os.environ:
        found = bench("predictor", "--labels", "16" if arguments.quick else "150")
        lines += ["", "| tables and predictors | seconds |", "|---|---|"]
        lines += [f"| {k[:-8]} | {v:.2f} |" for k, v in found.items() if k.endswith("_seconds")]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = ["| | threads | ours | against the textbook |", "|---|---|---|---|"]
    for threads in arguments.threads:
        lines += networks(arguments, threads)
    lines += the_rest(arguments)
    lines += growth(arguments)
    table = "\n".join(lines) + "\n"
    print(f"\n{table}")
    if arguments.out is not None:
        arguments.out.write_text(table)


if __name__ == "__main__":
    main()

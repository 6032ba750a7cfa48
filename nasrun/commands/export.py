"""`nasrun export RUN`: a retrained network as files that run without nasrun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.config.commands import argument_parser
from nasrun.runs import run_names
from nasrun.terminal import console

if TYPE_CHECKING:
    from nasrun.engine.export import Exported


def main(arguments: Sequence[str]) -> None:
    """Write the formats, and show what a fresh process measured of each.

    Raises:
        UsageError: the run has no network, or a format or a package for it does not exist.
    """
    parser = argument_parser("export")
    parser.add_argument("run")
    parser.add_argument("--format", default="onnx")
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    run = run_names.path_of(parsed.run, run_names.NETWORK)
    from nasrun.engine import export, trained  # torch
    from nasrun.launch.replay import recorded_dataset

    chosen = export.exporters(parsed.format.split(","))
    network = trained.load(run)
    dataset = recorded_dataset(run)
    folder = parsed.out or run / "export"
    _show(*export.export(network, dataset, chosen, folder))
    console.say(f"files: {folder} (model.json has the names of the classes)")


def _show(found: Sequence[Exported], accuracy: float) -> None:
    columns = ["format", "file", "MB", "accuracy %", "logits differ"]
    columns += [f"ms, batch {size}, {share}" for size in (1, 32) for share in ("p50", "p95")]
    rows = [
        [
            one.name,
            one.path.name,
            f"{one.num_bytes / 1e6:.2f}",
            f"{100 * one.accuracy:.2f}",
            f"{one.difference:.1e}",
            *(f"{time:.2f}" for times in one.latency_ms.values() for time in times),
        ]
        for one in found
    ]
    console.table(
        f"the network itself: {100 * accuracy:.2f} % on the same images; latencies of one thread",
        columns,
        rows,
        text_columns=2,
    )

"""`nasrun compress RUN`: a retrained network with fewer channels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.config.commands import argument_parser
from nasrun.runs import run_names
from nasrun.storage.durable import make_folder, replacing
from nasrun.terminal import console
from nasrun.terminal.progress import Display

if TYPE_CHECKING:
    from nasrun.engine.compress import Compressed

FILE = "compressed.json"


def main(arguments: Sequence[str]) -> None:
    """Prune, train on, write, and show what it cost and what it saved.

    Raises:
        UsageError: the run has no network, or one that cannot be pruned.
    """
    parser = argument_parser("compress")
    parser.add_argument("run")
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--format", default="onnx")
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    run = run_names.path_of(parsed.run, run_names.NETWORK)
    from nasrun.engine import compress, export, trained  # torch
    from nasrun.launch.replay import recorded_dataset

    chosen = export.exporters(parsed.format.split(","))
    network = trained.load(run)
    folder: Path = parsed.out or run / "compressed"
    make_folder(folder)
    display = Display()
    display.start("tuning", "epoch", parsed.epochs, 0)
    found = compress.compress(
        network, recorded_dataset(run), chosen, folder,
        keep=parsed.keep, epochs=parsed.epochs, progress=display.progress,
    )  # fmt: skip
    display.finish()
    with replacing(folder / FILE) as path:
        path.write_text(json.dumps(compress.plain(found), indent=2) + "\n", encoding="utf-8")
    _show(found)
    console.say(f"files: {folder} (model.json has the names of the classes)")


def _show(found: Compressed) -> None:
    columns = ["network", "format", "parameters", "multiply-adds", "accuracy %", "MB"]
    columns += [f"ms, batch {size}" for size in (1, 32)]
    rows = [
        [
            stage.name,
            one.name,
            f"{stage.params:,}",
            f"{stage.flops:,}",
            f"{100 * one.accuracy:.2f}",
            f"{one.num_bytes / 1e6:.3f}",
            *(f"{times[0]:.2f}" for times in one.latency_ms.values()),
        ]
        for stage in (found.original, found.pruned)
        for one in stage.files
    ]
    console.table("before and after; latencies of one thread, median", columns, rows,
                  text_columns=2)  # fmt: skip
    console.say(
        f"on all test images the pruned network has {found.cut_accuracy:.2%} as it was cut, and "
        f"{found.tuned_accuracy:.2%} after it was trained on"
    )

"""`nasrun evaluate RUN [DATA]`: how good a retrained network is, class by class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.config.commands import argument_parser
from nasrun.runs import run_names
from nasrun.terminal import console

if TYPE_CHECKING:
    from nasrun.training.quality import Quality

MOST_CLASSES = 20  # whose confusions fit onto a screen


def main(arguments: Sequence[str]) -> None:
    """Print accuracy, macro F1, a table per class, and confusions.

    Raises:
        UsageError: the run has no network, or the data do not suit it.
    """
    parser = argument_parser("evaluate")
    parser.add_argument("run")
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(arguments)
    run = run_names.path_of(parsed.run, run_names.NETWORK)
    from nasrun.engine import ask, trained  # torch
    from nasrun.launch.replay import recorded_dataset

    network = trained.load(run)
    if parsed.data is None:
        given = ask.of_test_split(recorded_dataset(run))
    else:
        given = ask.labelled(network, parsed.data)
    found = ask.quality(network, given)
    if parsed.json:
        console.say(json.dumps(_plain(found)))
    else:
        _show(found)


def _plain(found: Quality) -> dict[str, object]:
    return {
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
        "classes": found.per_class(),
        "confusion": found.confusion_KK.tolist(),
    }


def _show(found: Quality) -> None:
    columns = [
        "class", "inputs", "sensitivity (recall) %", "positive predictivity (precision) %", "F1 %"
    ]  # fmt: skip
    rows = [
        [row["class"], f"{row['count']:,}"]
        + [f"{100 * row[name]:.2f}" for name in ("recall", "precision", "f1")]
        for row in found.per_class()
    ]
    total = int(found.confusion_KK.sum())
    console.table("", columns, rows)
    if len(found.classes) <= MOST_CLASSES:
        pairs = zip(found.classes, found.confusion_KK.tolist(), strict=True)
        lines = [[name, *map(str, row)] for name, row in pairs]
        console.table("true class (row), predicted class (column)", ["", *found.classes], lines)
    console.say(
        f"accuracy {found.accuracy:.2%}, balanced accuracy {found.balanced_accuracy:.2%}, macro F1 "
        f"{found.macro_f1:.4f}, on {total:,} inputs"
    )

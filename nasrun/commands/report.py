"""Compare many runs: tables, statistics, plots and one HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError
from nasrun.report import files
from nasrun.report.analysis import Report
from nasrun.report.collect import Collected
from nasrun.report.text_table import ReportTable
from nasrun.report.watch import watch
from nasrun.runs import run_names
from nasrun.terminal import console

MAX_SHOWN = 20  # rows of the comparisons in the terminal
IN_TERMINAL = (
    *("groups", "grid", "warnings", "pairs", "ranks", "across", "references", "predictors"),
    "left_out",
)  # how the names of the tables begin that a terminal has room for


def main(arguments: Sequence[str]) -> None:
    """Write a report on all runs in the folders, and show its main tables.

    Raises:
        UsageError: a folder has no runs, or a key or a metric is unknown.
    """
    parser = argument_parser("report")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--by")
    parser.add_argument("--metric")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--watch", action="store_true")
    parsed = parser.parse_args(arguments)
    folders = [run_names.path_of(one, run_names.ANY) for one in parsed.folders]
    keys, line = _keys(parsed.by), _as_typed(arguments, parsed.folders, folders)
    if parsed.watch:
        _watch(folders, keys, parsed.metric, parsed.out, line)
        return
    made = files.make(folders, keys, parsed.metric, parsed.out, line)
    _show(made.report, made.shown)
    console.say(f"report: {made.folder / 'report.html'}, and {len(made.files) - 1} files beside it")


def _watch(
    folders: Sequence[Path], keys: list[str] | None, metric: str | None, out: Path | None, line: str
) -> None:
    """Write the page anew, in one folder, until all runs have ended."""

    def renew(found: Collected, renew_s: int | None) -> Path:
        nonlocal out
        made = files.make_of(found, keys, metric, out, line, renew_s)
        out = made.folder
        return out / "report.html"

    console.say(watch(folders, renew, console.say))


def _as_typed(words: Sequence[str], typed: Sequence[str], folders: Sequence[Path]) -> str:
    """Return the command line with the folders that names such as `last` stand for."""
    found = dict(zip(typed, map(str, folders), strict=True))
    return shlex.join(["nasrun", "report", *(found.get(word, word) for word in words)])


def _keys(by: str | None) -> list[str] | None:
    if by is None:
        return None
    keys = [key.strip() for key in by.split(",")]
    if not all(keys) or len(set(keys)) < len(keys):
        raise UsageError(f"--by {by}: give different keys, separated by commas")
    return keys


def _show(report: Report, shown: Sequence[ReportTable]) -> None:
    console.say(files.headline(report))
    for table in shown:
        if not table.name.startswith(IN_TERMINAL):
            continue
        rows = table.rows[:MAX_SHOWN] if table.name == "pairs" else table.rows
        console.say("")
        if not rows:
            console.say(f"{table.title}\n{table.note}")
            continue
        texts = [[cell.text for cell in row] for row in rows]
        console.table(table.title, table.columns, texts, table.text_columns)
        if len(rows) < len(table.rows):
            console.say(f"{len(table.rows) - len(rows)} more comparisons are in the report")
    console.say("")
    for note in report.notes:
        console.say(f"note: {note}")

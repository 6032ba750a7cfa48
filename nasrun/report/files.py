"""Write a report: `report.md .csv .tex .json .html`, one CSV per further table, and the plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nasrun.errors import UsageError
from nasrun.report import drawing, figures, formats, page, records, tables
from nasrun.report.analysis import Report, analyse
from nasrun.report.collect import Collected, collect
from nasrun.report.text_table import ReportTable
from nasrun.runs.folder import names
from nasrun.storage.durable import replacing


@dataclass(frozen=True)
class Made:
    """A report that was written: as values, as tables, and its files."""

    report: Report
    shown: Sequence[ReportTable]
    folder: Path
    files: Sequence[Path]


def make(
    folders: Sequence[Path],
    keys: Sequence[str] | None,
    metric: str | None,
    out: Path | None,
    command: str,
) -> Made:
    """Compare all runs in the folders, and write what comes out.

    Args:
        keys: what tells groups apart; `None`: all that differ but the seed.
        out: the folder to write to; `None`: a new one below outputs/reports.
        command: the line that makes the same report.

    Raises:
        UsageError: a folder has no runs, a key or a metric is unknown, or nothing can be written.
    """
    return make_of(collect(folders), keys, metric, out, command)


def make_of(
    found: Collected,
    keys: Sequence[str] | None,
    metric: str | None,
    out: Path | None,
    command: str,
    renew_s: int | None = None,
) -> Made:
    """Compare runs that are at hand; see `make`, and `write` for `renew_s`."""
    report = analyse(*found, None if keys is None else list(keys), metric)
    shown = tables.all_tables(report)
    now = f"{datetime.now():%Y-%m-%d/%H-%M-%S}"
    folder = out or _new_folder(Path("outputs/reports") / now)
    return Made(report, shown, folder, write(report, shown, folder, command, renew_s))


def _new_folder(path: Path) -> Path:
    """Make a folder of that name, or of the next free one: others may report in this second."""
    for place in names(path):
        try:
            place.mkdir(parents=True)
            return place
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot write in {place}: {error.strerror}") from None
    raise AssertionError("names do not end")


def write(
    report: Report,
    shown: Sequence[ReportTable],
    folder: Path,
    command: str,
    renew_s: int | None = None,
) -> list[Path]:
    """Write all files, each as a whole or not at all; return them.

    Args:
        shown: the tables of the report.
        renew_s: after so many seconds a browser loads the page anew.

    Raises:
        UsageError: the folder cannot be written.
    """
    title, lead = headline(report), introduction(report, command)
    contents: dict[str, bytes] = {}
    plots = []
    for picture in figures.figures(report):
        drawn = drawing.svg(picture.figure)
        contents[f"{picture.name}.svg"] = drawn.encode()
        contents[f"{picture.name}.png"] = drawing.png(picture.figure)
        element = drawing.inline(drawn, picture.name)
        touches = json.dumps(picture.places())
        plots.append(page.Plot(picture.caption, element, touches, picture.is_wide))
    told = [table for table in shown if table.name not in ("left_out", "hardware")]
    files = {
        "report.json": formats.as_json(report),
        "report.tex": formats.latex(told, report.notes),
        **_comma_separated(report, shown),
    }
    texts = {
        "report.md": formats.markdown(title, lead, shown, report.notes),
        "report.html": page.page(title, lead, shown, plots, report, files, renew_s),
        **files,
    }
    contents |= {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            with replacing(folder / name) as path:
                path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error.strerror}") from None
    return [folder / name for name in contents]


def _comma_separated(report: Report, shown: Sequence[ReportTable]) -> dict[str, str]:
    """Return the CSV files by their names.

    `report.csv` has the groups, `report_pairs.csv` and `report_runs.csv` the comparisons and the
    runs, `report_<table>.csv` what stands in the other tables.
    """
    found = {"report.csv": formats.comma_separated_records(records.groups(report))}
    for name, entries in (("pairs", records.pairs(report)), ("runs", records.runs(report))):
        if entries:
            found[f"report_{name}.csv"] = formats.comma_separated_records(entries)
    others = [table for table in shown if table.rows and table.name not in ("groups", "pairs")]
    return found | {page.csv_name(item.name): formats.comma_separated(item) for item in others}


def headline(report: Report) -> str:
    """Say in one line what is reported, and of how many runs."""
    return f"{report.metric.label[0].upper()}{report.metric.label[1:]} of {_count(report)}"


def _count(report: Report) -> str:
    num_runs, num_groups = len(report.runs), len(report.rows)
    runs = f"{num_runs:,} run{'s' * (num_runs != 1)}"
    return f"{runs} in {num_groups} groups" if num_groups > 1 else runs


def introduction(report: Report, command: str) -> list[str]:
    """Say what was compared and how, in a few sentences."""
    keys = [*report.grouping.keys]
    lines = [f"{command}, {datetime.now(UTC).isoformat(sep=' ', timespec='minutes')[:16]} UTC."]
    if keys:
        lines.append(f"Groups are runs with the same {', '.join(keys)}; seeds are repetitions.")
    if report.metric.percent:
        lines.append("Figures are percent; report.csv and report.json have fractions.")
    if report.left_out:
        lines.append(f"{len(report.left_out)} folders are not counted: see the table at the end.")
    return lines

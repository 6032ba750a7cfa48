"""Format tables as Markdown, CSV and LaTeX; texts from files are escaped in each of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nasrun.report import records as records_module
from nasrun.report.analysis import Report
from nasrun.report.collect import shown
from nasrun.report.curve_sets import CurveSet
from nasrun.report.records import Record
from nasrun.report.text_table import Cell, ReportTable

MARKDOWN = str.maketrans(
    {**{letter: f"\\{letter}" for letter in "\\`*_[]|#"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "β": r"$\beta$",
        "†": r"\textdagger{}",
    }
)


def markdown(
    title: str, lead: Sequence[str], tables: Sequence[ReportTable], end: Sequence[str]
) -> str:
    """Return headings, pipe tables and notes; `end` are lines of a list."""
    blocks = [f"# {title.translate(MARKDOWN)}", *(line.translate(MARKDOWN) for line in lead)]
    for table in tables:
        blocks.append(f"## {table.title.translate(MARKDOWN)}")
        if table.rows:
            rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
            heads = [column.translate(MARKDOWN) for column in table.columns]
            rule = ["---" if i < table.text_columns else "---:" for i in range(len(heads))]
            blocks.append("\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows)))
        if table.note:
            blocks.append(table.note.translate(MARKDOWN))
    if end:
        blocks += ["## Notes", "\n".join(f"- {line.translate(MARKDOWN)}" for line in end)]
    return "\n\n".join(blocks) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = _one_line(cell.text).translate(MARKDOWN)
    return f"**{text}**" if cell.bold else text


def comma_separated(table: ReportTable) -> str:
    """Return a table as CSV, with values rather than texts: accuracies are fractions."""
    return _csv(table.columns, ([cell.value for cell in row] for row in table.rows))


def comma_separated_records(records: Sequence[Record]) -> str:
    """Return a line for each record; the names of the first are the heading."""
    return _csv(records[0].keys(), (record.values() for record in records)) if records else ""


def _csv(heading: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_csv_value(name) for name in heading])
    writer.writerows([_csv_value(value) for value in row] for row in rows)
    return file.getvalue()


def _csv_value(value: Any) -> Any:
    """Quote a text that a spreadsheet would take for a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


LONGEST_IN_A_LINE = 60  # characters of a column of text in LaTeX


def latex(tables: Sequence[ReportTable], end: Sequence[str] = ()) -> str:
    r"""Return `table` environments with booktabs rules, to be used with \input.

    Notes stand under their tables; those in `end`, which are about the groups, under the first.
    """
    blocks = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        if not table.rows:
            continue
        notes = [*([table.note] if table.note else []), *(end if table is tables[0] else ())]
        align = "".join(_alignment(table, place) for place in range(len(table.columns)))
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_latex(table.title)}}}",
            rf"  \label{{tab:{table.name.replace('_', '-')}}}",
            rf"  \begin{{tabular}}{{{align}}}",
            r"    \toprule",
            f"    {' & '.join(_latex(column) for column in table.columns)} \\\\",
            r"    \midrule",
            *(f"    {' & '.join(_latex_cell(cell) for cell in row)} \\\\" for row in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            *(rf"  \par\smallskip\footnotesize {_latex(note)}" for note in notes),
            r"\end{table}",
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _alignment(table: ReportTable, place: int) -> str:
    """Return what the LaTeX of a column is: sentences are wrapped, or they run off the page."""
    if place >= table.text_columns:
        return "r"
    longest = max(len(_latex_cell(row[place])) for row in table.rows)
    return r"p{0.6\linewidth}" if longest > LONGEST_IN_A_LINE else "l"


def _latex(text: str) -> str:
    return _one_line(text).translate(LATEX)


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    return rf"\textbf{{{text}}}" if cell.bold else text


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def as_json(report: Report) -> str:
    """Return everything as JSON, in values: accuracies are fractions."""
    content = {
        "metric": {"key": report.metric.key, "higher_is_better": report.metric.higher_is_better},
        "keys": report.grouping.keys,
        "groups": [
            {"name": row.group.name, "settings": row.group.settings, **record}
            for row, record in zip(report.rows, records_module.groups(report), strict=True)
        ],
        "comparisons": records_module.pairs(report),
        "rankings": [vars(ranking) for ranking in report.rankings],
        "across": records_module.across(report.across),
        "references": [
            {"name": one.name, "space": one.space, **_flat(one.accuracies)}
            for one in report.references
        ],
        "grids": [
            {
                "dataset": grid.dataset,
                "metric": grid.metric.key,
                "keys": grid.keys,
                "cells": [{"at": place, **vars(found)} for place, found in grid.cells.items()],
            }
            for grid in report.grids
        ],
        "curves": [_curves(curves) for curves in report.curve_sets],
        "points": [vars(point) for point in report.points],
        "published": [item.name for item in report.published],
        "runs": [
            {**record, "overrides": run.overrides}
            for run, record in zip(report.runs, records_module.runs(report), strict=True)
        ],
        "not_counted": [
            {"folder": shown(item.folder), "status": item.status, "reason": item.reason}
            for item in report.left_out
        ],
        "notes": report.notes,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _flat(accuracies: Mapping[tuple[str, str], float]) -> dict[str, float]:
    return {f"{part}.{dataset}": accuracy for (dataset, part), accuracy in accuracies.items()}


def _curves(curves: CurveSet) -> dict[str, Any]:
    parts = ("x", "mean", "low", "high")
    groups = {
        name: {"n": curve.n, **{part: getattr(curve, part).tolist() for part in parts}}
        for name, curve in curves.curves.items()
    }
    return {**vars(curves), "curves": groups}

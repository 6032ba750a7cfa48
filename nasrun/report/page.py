"""One HTML page with everything in it: no network, no server.

Nothing from a file can run: texts are escaped, drawings are images by data URI (in which a browser
runs no script), and the page's own content security policy allows one script, this one.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from nasrun.report.analysis import Report, Row
from nasrun.report.collect import Run, shown
from nasrun.report.tables import Cell, Table
from nasrun.terminal.text import printable

MAX_DRAWINGS, MAX_DRAWING_BYTES = 48, 300_000
MAX_RUNS_IN_FULL = 200  # beyond that only the best run of each group has its command


def page(
    title: str,
    lead: Sequence[str],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[str, str]],
    report: Report,
) -> str:
    """The whole page.

    Args:
        lead: paragraphs under the title.
        plots: by name the caption and the `<svg>` element.
    """
    script, style = (
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("page.js", "page.css")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    body = "\n".join(_body(title, lead, tables, plots, report))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def _body(
    title: str,
    lead: Sequence[str],
    tables: Sequence[Table],
    plots: Mapping[str, tuple[str, str]],
    report: Report,
) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield from (f"<p>{escape(line)}</p>" for line in lead)
    links: dict[str, str] = {}  # the first of several published tables stands for all
    for table in tables:
        links.setdefault(table.title.partition(":")[0], table.name)
    links |= {"Plots": "plots"} if plots else {}
    links |= {"Runs": "runs"} if report.rows else {}
    anchors = (f'<a href="#{escape(name)}">{escape(text)}</a>' for text, name in links.items())
    yield f"<nav>{' '.join(anchors)}</nav>"
    front = [table for table in tables if table.name in ("groups", "pairs") or "grid" in table.name]
    for item in front:
        yield from _table(item)
    if plots:
        yield '<h2 id="plots">Plots</h2>\n<div class="plots">'
        for caption, svg in plots.values():
            yield f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
        yield "</div>"
    for item in tables:
        if item not in front:
            yield from _table(item)
    if report.rows:
        yield from _runs(report)
    if report.notes:
        yield '<h2 id="notes">Notes</h2>\n<ul>'
        yield from (f"<li>{escape(note)}</li>" for note in report.notes)
        yield "</ul>"


def _table(table: Table) -> Iterator[str]:
    yield f'<h2 id="{escape(table.name)}">{escape(table.title)}</h2>'
    if table.rows:
        yield '<div class="scroll" tabindex="0"><table><thead><tr>'
        for position, column in enumerate(table.columns):
            kind = ' class="text"' if position < table.text_columns else ""
            yield f'<th scope="col"{kind}><button type="button">{escape(column)}</button></th>'
        yield "</tr></thead><tbody>"
        for row in table.rows:
            cells = (_cell(cell, i < table.text_columns) for i, cell in enumerate(row))
            yield f"<tr>{''.join(cells)}</tr>"
        yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'


def _cell(cell: Cell, is_text: bool) -> str:
    kind = ' class="text"' if is_text else ""
    value = "" if cell.value is None else escape(str(cell.value))
    text = escape(printable(cell.text))
    text = text.replace("/", "/<wbr>").replace("_", "_<wbr>")  # a long name is broken there
    return f'<td{kind} data-value="{value}">{f"<b>{text}</b>" if cell.bold else text}</td>'


def _runs(report: Report) -> Iterator[str]:
    """A fold per group: the cells of its best run, the configuration, how to repeat each run."""
    yield '<h2 id="runs">Runs</h2>'
    yield '<p class="note">The best run of each group first, with its cells and its settings; '
    yield "a command repeats a run with the same code.</p>"
    num_runs = sum(row.summary.n for row in report.rows)
    drawings = _Drawings(len(report.rows))
    for row in report.rows:
        yield from _group(report, row, drawings, in_full=num_runs <= MAX_RUNS_IN_FULL)


class _Drawings:
    """The best run of each group is drawn, the others while there is room; no picture twice in a
    group."""

    def __init__(self, num_groups: int) -> None:
        self._left = {True: MAX_DRAWINGS, False: max(0, MAX_DRAWINGS - num_groups)}
        self._seen: dict[str, str] = {}

    def of(self, run: Run, name: str, is_best: bool) -> str:
        """HTML; empty where there is no picture."""
        if is_best:
            self._seen.clear()
        address = _drawing(run.folder / "cells.svg") if self._left[is_best] > 0 else None
        if address is None:
            return ""
        if address in self._seen:
            return f'<p class="note">The same cells as {escape(self._seen[address])}.</p>'
        self._left[is_best] -= 1
        self._seen[address] = name
        image = f'<img alt="cells" decoding="async" src="{address}">'
        return f'<div class="cells" tabindex="0">{image}</div>'


def _group(report: Report, row: Row, drawings: _Drawings, in_full: bool) -> Iterator[str]:
    metric, item = report.metric, row.group
    percent = " %" * metric.percent
    sign = -1 if metric.higher_is_better else 1
    ordered = sorted(zip(row.values, item.runs, strict=True), key=lambda pair: sign * pair[0])
    mean = f"{metric.label} {metric.show(row.summary.mean)}{percent}, n = {row.summary.n}"
    yield f"<details><summary><b>{escape(item.name)}</b>: {escape(mean)}</summary>"
    for position, (value, run) in enumerate(ordered if in_full else ordered[:1]):
        yield from _run(run, f"{metric.show(value)}{percent}")
        yield drawings.of(run, f"seed {run.seed}", is_best=position == 0)
    if not in_full:
        yield f'<p class="note">{len(ordered) - 1} more runs: report_runs.csv.</p>'
    best_run = ordered[0][1]
    yield f"<p>Settings of seed {best_run.seed}, as composed:</p>"
    yield f'<pre class="config" tabindex="0">{escape(_lines(best_run.config_text))}</pre></details>'


def _run(run: Run, figure: str) -> Iterator[str]:
    facts = [shown(run.folder), run.device]
    commit = run.text("commit", source=run.record)
    facts += [f"commit {commit[:12]}"] if commit else []
    where = f'<span class="quiet">{escape(", ".join(facts))}</span>'
    yield f"<p>seed {run.seed}: {escape(figure)} {where}</p>"
    yield f'<pre class="command">{escape(repeat_command(run))}</pre>'


def repeat_command(run: Run) -> str:
    """What to type: the job's own overrides, without those of its sweep."""
    words = run.record.get("overrides")
    typed = [str(word) for word in words] if isinstance(words, list) else []
    return printable(shlex.join(["nasrun", run.kind, *typed]))


def _drawing(path: Path) -> str | None:
    """A picture as a data URI; `None` where there is none, or none of a sensible size."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_DRAWING_BYTES:
            return None
        return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        return None


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())

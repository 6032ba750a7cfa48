"""Write one HTML page with everything in it: no network, no server.

Nothing from a file can run: jinja2 escapes all texts that `page.html` shows, drawings are images by
data URI (in which a browser runs no script), and the page's own content security policy allows one
script, this one.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from nasrun.report.analysis import Report, Row
from nasrun.report.collect import Run, shown
from nasrun.report.text_table import ReportTable
from nasrun.terminal.text import printable

MAX_DRAWINGS, MAX_DRAWING_BYTES = 48, 300_000
MAX_DOWNLOAD_LETTERS = 2_000_000  # of a file in the page; longer ones lie beside it
KINDS = {"csv": "text/csv", "json": "application/json", "tex": "application/x-tex"}
FRONT = (
    *("groups", "grid", "warnings", "pairs", "ranks", "across", "improvements", "references"),
)  # how the names of tables begin that stand before the plots
MAX_RUNS_IN_FULL = 200  # beyond that only the best run of each group has its command


@dataclass(frozen=True)
class Plot:
    """A plot as a `<svg>` element; `touches` is JSON: x, y and text of places in it."""

    caption: str
    svg: str
    touches: str
    is_wide: bool


def page(
    title: str,
    lead: Sequence[str],
    tables: Sequence[ReportTable],
    plots: Sequence[Plot],
    report: Report,
    files: Mapping[str, str],
    renew_s: int | None = None,
) -> str:
    """Return the whole page.

    Args:
        lead: paragraphs under the title.
        files: by name the texts that can be downloaded from the page.
        renew_s: after so many seconds a browser loads the page anew; `None` for never.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    script, style = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.js", "page.css")
    )
    front = [table for table in tables if table.name.startswith(FRONT)]
    return environment.get_template("page.html").render(
        title=title,
        lead=lead,
        links=_links(tables, plots, report),
        front=front,
        others=[table for table in tables if table not in front],
        plots=plots,
        downloads={name: _address(name, text) for name, text in files.items()
                   if len(text) <= MAX_DOWNLOAD_LETTERS},
        csv_of={table.name: csv_name(table.name) for table in tables},
        renew_s=renew_s,
        folds=list(_folds(report)),
        notes=report.notes,
        script=script,
        style=style,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def csv_name(table: str) -> str:
    """Return the file that has a table as CSV."""
    return "report.csv" if table == "groups" else f"report_{table}.csv"


def _address(name: str, text: str) -> str:
    """Return a file as an address that needs no network."""
    kind = KINDS.get(name.rpartition(".")[2], "text/plain")
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return f"data:{kind};charset=utf-8;base64,{encoded}"


def _links(tables: Sequence[ReportTable], plots: Sequence[Plot], report: Report) -> dict[str, str]:
    """Return the names of sections, and their places."""
    links: dict[str, str] = {}  # the first of several published tables stands for all
    for table in tables:
        links.setdefault(table.title.partition(":")[0], table.name)
    links |= {"Plots": "plots"} if plots else {}
    return links | ({"Runs": "runs"} if report.rows else {})


def _breakable(text: str) -> Markup:
    """Return a text of a cell in which a long name may break after a slash or an underline."""
    safe = escape(printable(text))
    return safe.replace("/", Markup("/<wbr>")).replace("_", Markup("_<wbr>"))


@dataclass(frozen=True)
class _ShownRun:
    """What the page says of one run; `drawing` is a data URI."""

    seed: int | None
    figure: str
    where: str
    command: str
    drawing: str | None
    same_cells_as: str | None


@dataclass(frozen=True)
class _Fold:
    """What the page says of a group.

    That is the cells of its best run, the configuration, and how to repeat each run. `num_untold`
    counts the runs that are not shown, where not all are.
    """

    name: str
    mean: str
    runs: tuple[_ShownRun, ...]
    num_untold: int | None
    settings: str


def _folds(report: Report) -> Iterator[_Fold]:
    in_full = sum(row.summary.n for row in report.rows) <= MAX_RUNS_IN_FULL
    drawings = _Drawings(len(report.rows))
    for row in report.rows:
        yield _fold(report, row, drawings, in_full)


class _Drawings:
    """The drawings of a page.

    The best run of each group is drawn, the others while there is room; no picture comes twice in a
    group.
    """

    def __init__(self, num_groups: int) -> None:
        self._left = {True: MAX_DRAWINGS, False: max(0, MAX_DRAWINGS - num_groups)}
        self._seen: dict[str, str] = {}

    def of(self, run: Run, name: str, is_best: bool) -> tuple[str | None, str | None]:
        """Return the picture, if there is one, or the name of an earlier run that has the same."""
        if is_best:
            self._seen.clear()
        address = _drawing(run.folder / "cells.svg") if self._left[is_best] > 0 else None
        if address is None or address in self._seen:
            return None, address and self._seen[address]
        self._left[is_best] -= 1
        self._seen[address] = name
        return address, None


def _fold(report: Report, row: Row, drawings: _Drawings, in_full: bool) -> _Fold:
    metric, item = report.metric, row.group
    percent = " %" * metric.percent
    sign = -1 if metric.higher_is_better else 1
    ordered = sorted(zip(row.values, item.runs, strict=True), key=lambda pair: sign * pair[0])
    runs = tuple(
        _run(run, f"{metric.show(value)}{percent}", drawings, is_best=position == 0)
        for position, (value, run) in enumerate(ordered if in_full else ordered[:1])
    )
    return _Fold(
        item.name,
        f"{metric.label} {metric.show(row.summary.mean)}{percent}, n = {row.summary.n}",
        runs,
        None if in_full else len(ordered) - 1,
        _lines(ordered[0][1].config_text),
    )


def _run(run: Run, figure: str, drawings: _Drawings, is_best: bool) -> _ShownRun:
    facts = [shown(run.folder), run.device]
    commit = run.text("commit", source=run.record)
    facts += [f"commit {commit[:12]}"] if commit else []
    drawing, same_cells_as = drawings.of(run, f"seed {run.seed}", is_best)
    return _ShownRun(
        run.seed, figure, ", ".join(facts), repeat_command(run), drawing, same_cells_as
    )


def repeat_command(run: Run) -> str:
    """Return what to type: the job's own overrides, without those of its sweep."""
    words = run.record.get("overrides")
    typed = [str(word) for word in words] if isinstance(words, list) else []
    return printable(shlex.join(["nasrun", run.kind, *typed]))


def _drawing(path: Path) -> str | None:
    """Return a picture as a data URI; `None` where there is none, or it is too large."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_DRAWING_BYTES:
            return None
        return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError:
        return None


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())

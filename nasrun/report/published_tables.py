"""Lay out published tables with ours in them, each of our methods below the published one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nasrun.report import metrics, statistics
from nasrun.report.analysis import Grid, Report, Row, mean_of
from nasrun.report.collect import Run
from nasrun.report.published import Published
from nasrun.report.references import Reference
from nasrun.report.text_table import Cell, ReportTable, corner, mean_text, number_cell, text_cell


def published(report: Report, item: Published) -> Iterator[ReportTable]:
    """Yield a published table with ours in it; statements are a note without rows."""
    title, note = f"Published: {item.title}", f"{item.source}. {item.note}"
    if item.kind == "grid":
        yield from _published_grid(report, item, title, note)
    elif item.kind == "rows":
        names = tuple(COLUMN_NAMES.get(name, name) for name in item.columns)
        theirs = tuple(
            tuple(_printed(*entry) for entry in zip(row, item.columns, strict=True))
            for row in item.rows
        )
        lines = tuple(_with_ours(item, theirs, report))
        yield ReportTable(item.name, title, names, lines, note)
    else:
        yield ReportTable(item.name, title, (), (), note)


Line = tuple[Cell, ...]


def _with_ours(item: Published, theirs: Sequence[Line], report: Report) -> Iterator[Line]:
    """Yield the published rows, below each what is ours of it; then what is ours alone."""
    ours: dict[int | None, list[Line]] = {}
    for row in report.rows:
        if item.is_about(row.group.runs[0]):
            strategies = {run.text("strategy") or "" for run in row.group.runs}
            place = item.place(strategies.pop()) if len(strategies) == 1 else None
            ours.setdefault(place, []).extend(_ours(row, item.columns))
    for cell in report.references:
        if cell.space in item.runs.get("space", ()):
            ours.setdefault(item.place(cell.name), []).append(_reference(cell, item.columns))
    for place, line in enumerate(theirs):
        yield line
        yield from ours.get(place, ())
    yield from ours.get(None, ())


def _reference(cell: Reference, columns: Sequence[str]) -> Line:
    """Return the line of a cell that needs no search."""
    places = [column.partition(".")[::2] for column in columns[1:]]
    figures = [cell.accuracies.get((dataset, part)) for part, dataset in places]
    name = text_cell(f"ours: {cell.name}, without a search")
    return name, *(number_cell(figure, ".2f", 100.0) for figure in figures)


def _published_grid(
    report: Report, item: Published, title: str, note: str
) -> Iterator[ReportTable]:
    """Yield published cells, and ours below them where there is a grid by the same keys."""
    same = (found for found in report.grids if set(found.keys) == set(item.keys))
    ours = next((found for found in same if found.metric.key == item.metric), None)
    rows = []
    for row in item.rows:
        cells = []
        for column in item.columns:
            found = item.cell(row, column)
            assert found is not None, "every cell of the file is there"
            cells.append(Cell(f"{found[0]} ({found[1]} M)", float(found[0]) / 100))
        rows.append((text_cell(f"{row}, published"), *cells))
        if ours is not None:
            line = [_own_cell(ours, item, row, column) for column in item.columns]
            rows.append((text_cell(f"{row}, ours"), *line))
    if ours is not None:
        note += f" Ours: {ours.dataset}, mean ± standard deviation (number of runs)."
    yield ReportTable(item.name, title, (corner(item.keys), *item.columns), tuple(rows), note)


def _own_cell(ours: Grid, item: Published, row: str, column: str) -> Cell:
    for (first, second), summary in ours.cells.items():
        place = (first, second) if ours.keys == tuple(item.keys) else (second, first)
        if [_as_number(text) for text in place] == [float(row), float(column)]:
            return Cell(mean_text(ours.metric, summary), summary.mean)
    return Cell("-")


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


COLUMN_NAMES = {
    "params_m": "params M", "gpu_days": "GPU-days", "error.cifar10": "CIFAR-10 error %",
    "error.cifar100": "CIFAR-100 error %", "error.imagenet": "top-1 error %",
    "val.cifar10": "CIFAR-10 val", "test.cifar10": "CIFAR-10 test",
    "val.cifar100": "CIFAR-100 val", "test.cifar100": "CIFAR-100 test",
    "val.imagenet16": "ImageNet16 val", "test.imagenet16": "ImageNet16 test",
}  # fmt: skip


def _printed(text: str, column: str) -> Cell:
    """Show errors and accuracies in percent, as printed; their values are fractions."""
    if text == "null":
        return Cell("-")
    value = _as_number(text.partition(" ")[0])  # 93.56 or 93.56 ± 0.02
    if value is None or column in ("method", "seed"):
        return text_cell(text)
    return Cell(text, value / 100 if "." in column else value)


def _ours(row: Row, columns: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """Yield our group in a published table's columns; run by run where it has a row per seed."""
    name = f"ours: {row.group.name} ({row.group.dataset})"
    if columns[0] == "seed":
        for run in row.group.runs:
            figures = (_own_figure([run], column) for column in columns[1:])
            yield text_cell(f"{name}, seed {run.seed}"), *figures
        name += ", average"
    yield text_cell(name), *(_own_figure(row.group.runs, column) for column in columns[1:])


def _own_figure(runs: Sequence[Run], column: str) -> Cell:
    kind, _, dataset = column.partition(".")
    if column == "params_m":
        params = mean_of(runs, metrics.METRICS["params"])
        return number_cell(None if params is None else params / 1e6, ".3g")
    if column == "gpu_days":
        return number_cell(mean_of(runs, metrics.METRICS["gpu_days"]), ".2g")
    if kind == "error":
        test = mean_of(runs, metrics.METRICS["test_accuracy"])
        known = test is not None and runs[0].dataset == dataset
        return number_cell(1.0 - test if known and test is not None else None, ".2f", 100.0)
    values = [
        value
        for run in runs
        if (value := run.number("table", "datasets", dataset, f"{kind}_accuracy")) is not None
    ]
    if not values:
        return Cell("-")
    mean, spread = statistics.mean_and_deviation(values)
    return Cell(
        f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread is not None else ""), mean
    )

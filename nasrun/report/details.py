"""Lay out what runs say of themselves: warnings of the guard, classes, hardware and cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nasrun.report import metrics
from nasrun.report.analysis import Report, Row
from nasrun.report.collect import Run, number, shown
from nasrun.report.statistics import mean_and_deviation
from nasrun.report.text_table import Cell, ReportTable, number_cell, text_cell

MAX_WARNINGS, MAX_LETTERS = 20, 400  # of a run, and of a warning
MAX_CLASSES = 20  # of a confusion matrix that a person can read
MAX_MATRICES = 6
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def all_of(report: Report) -> Iterator[ReportTable]:
    """Yield the tables that have something to say."""
    yield from warnings(report)
    yield from classes(report)
    yield from confusions(report)
    yield from hardware(report)


def warnings(report: Report) -> Iterator[ReportTable]:
    """Yield what the guard has said during the searches, alike sentences of a group once."""
    rows: list[tuple[Cell, ...]] = []
    for row in report.rows:
        said: dict[str, tuple[str, list[Run]]] = {}
        for run in row.group.runs:
            for text in _warnings(run):
                said.setdefault(NUMBER.sub("#", text), (text, []))[1].append(run)
        for text, runs in said.values():
            seeds = ", ".join(dict.fromkeys(str(run.seed) for run in runs[:12]))
            more = f" and {len(runs) - 12} more" if len(runs) > 12 else ""
            count = Cell(f"{len(runs)} of {len(row.group.runs)}", len(runs))
            rows.append(
                (text_cell(row.group.name), text_cell(text), text_cell(seeds + more), count)
            )
    if rows:
        note = "Sentences that differ in numbers alone are one; shown is that of its first seed."
        columns = ("group", "warning", "seeds", "runs")
        title = "Warnings: what the guard saw during the searches"
        yield ReportTable("warnings", title, columns, tuple(rows), note, 3)


def _warnings(run: Run) -> list[str]:
    found = run.result.get("warnings")
    texts = found if isinstance(found, list) else []
    return [shown(text)[:MAX_LETTERS] for text in texts[:MAX_WARNINGS] if isinstance(text, str)]


def _classes(run: Run) -> list[Mapping[str, Any]]:
    retrain = run.result.get("retrain")
    found = retrain.get("classes") if isinstance(retrain, dict) else None
    return [one for one in (found if isinstance(found, list) else ()) if isinstance(one, dict)]


def classes(report: Report) -> Iterator[ReportTable]:
    """Yield how well the retrained networks of each group recognise each class."""
    rows: list[tuple[Cell, ...]] = []
    for row in report.rows:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for run in row.group.runs:
            for one in _classes(run):
                found.setdefault(shown(one.get("name"))[:40], []).append(one)
        of_group = []
        for name, figures in found.items():
            cells = [_mean(figures, key) for key in metrics.OF_CLASSES]
            count = number(figures[0], "count")
            of_group.append(
                (text_cell(row.group.name), text_cell(name), number_cell(count), *cells)
            )
        if len(of_group) > MAX_CLASSES:
            of_group = sorted(of_group, key=lambda line: line[3].shade or 0.0)[:MAX_CLASSES]
        rows += of_group
    if rows:
        note = (
            "Sensitivity: the share of a class's test inputs that is recognised; positive "
            "predictivity: the share of right ones among what is taken for it. Mean ± standard "
            f"deviation over the runs, %. Of more than {MAX_CLASSES} classes those that are worst."
        )
        columns = ("group", "class", "test inputs", *metrics.OF_CLASSES.values())
        title = "Classes: accuracy of each class after retraining"
        yield ReportTable("classes", title, columns, tuple(rows), note, 2)


def _mean(figures: Sequence[Mapping[str, Any]], key: str) -> Cell:
    values = [value for one in figures if (value := number(one, key)) is not None]
    if not values:
        return Cell("-")
    mean, spread = mean_and_deviation(values)
    text = f"{100 * mean:.2f}" if spread is None else f"{100 * mean:.2f} ± {100 * spread:.2f}"
    return Cell(text, mean, shade=mean)


def confusions(report: Report) -> Iterator[ReportTable]:
    """Yield which classes are taken for which, summed over the runs of a group."""
    drawn = 0
    for data in report.datasets:
        for row in report.best_first(data):
            found = confusion(row)
            if found is None or drawn == MAX_MATRICES:
                continue
            names, counts_KK = found
            shares_KK = counts_KK / counts_KK.sum(axis=1, keepdims=True).clip(1)
            lines = tuple(
                (
                    text_cell(name),
                    *(
                        Cell(f"{int(count):,}" if count else "·", int(count), shade=float(share))
                        for count, share in zip(counts_K, shares_K, strict=True)
                    ),
                )
                for name, counts_K, shares_K in zip(names, counts_KK, shares_KK, strict=True)
            )
            drawn += 1
            yield ReportTable(
                "confusion" if drawn == 1 else f"confusion_{drawn}",
                f"Confusion, {row.group.name}: rows are the true classes",
                ("true \\ taken for", *names),
                lines,
                "Test inputs, summed over the runs of the group.",
            )


def confusion(row: Row) -> tuple[list[str], np.ndarray] | None:
    """Return class names and the summed counts_KK; `None` where no run has recorded them."""
    total: np.ndarray | None = None
    names: list[str] = []
    for run in row.group.runs:
        retrain = run.result.get("retrain")
        counts = retrain.get("confusion") if isinstance(retrain, dict) else None
        known = [shown(one.get("name"))[:20] for one in _classes(run)]
        size = len(known)
        if not isinstance(counts, list) or not 2 <= size <= MAX_CLASSES or len(counts) != size:
            continue
        figures = [[number(count) for count in line] for line in counts if isinstance(line, list)]
        if len(figures) != size or any(len(line) != size or None in line for line in figures):
            continue
        if total is None:
            names, total = known, np.zeros((size, size))
        if names == known:
            total = total + np.array(figures, dtype=float)
    return None if total is None else (names, total)


def hardware(report: Report) -> Iterator[ReportTable]:
    """Yield on which machines the runs were made, and what they cost there."""
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in report.runs:
        found.setdefault(_machine(run), []).append(run)
    rows = tuple(
        (
            *map(text_cell, machine),
            Cell(str(len(runs)), len(runs)),
            *(_total(runs, *keys) for keys in TOTALS),
        )
        for machine, runs in found.items()
    )
    if rows:
        where = ("device", "processor", "system", "versions")
        costs = ("search s", "retraining s", "labels s", "evaluations", "scorings")
        note = (
            "Sums over the runs. labels s: what labels cost where they were trained; on a "
            "benchmark table, its makers paid for them."
        )
        yield ReportTable("hardware", "Hardware and cost", (*where, "runs", *costs), rows, note, 4)


TOTALS = (
    ("search_seconds",), ("retrain", "seconds"), ("label_seconds",), ("evaluations",), ("scorings",)
)  # fmt: skip


def _machine(run: Run) -> tuple[str, ...]:
    versions = run.record.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    told = [f"{name} {shown(known[name])[:20]}" for name in ("nasrun", "torch") if name in known]
    processor, system = (
        run.text(key, source=run.record) or "-" for key in ("processor", "platform")
    )
    return run.device, processor[:60], system.partition("-with")[0][:60], ", ".join(told) or "-"


def _total(runs: Sequence[Run], *keys: str) -> Cell:
    values = [value for run in runs if (value := run.number(*keys)) is not None]
    return number_cell(sum(values) if values and any(values) else None, ",.0f")

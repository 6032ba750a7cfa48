"""Hold a table as texts, each with the value behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasrun.report.metrics import Metric
from nasrun.report.statistics import Summary


@dataclass(frozen=True)
class Cell:
    """A cell; by `value` it is sorted and goes to CSV: a fraction where the text says percent.

    `shade`, from 0 to 1, is how strongly a page colours it.
    """

    text: str
    value: float | str | None = None
    bold: bool = False
    shade: float | None = None


@dataclass(frozen=True)
class ReportTable:
    """A table; its first `text_columns` columns are texts, the others numbers to the right."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    text_columns: int = 1


def text_cell(text: object) -> Cell:
    return Cell(str(text), str(text))


def number_cell(value: float | None, form: str = ",.0f", scale: float = 1.0) -> Cell:
    return Cell("-" if value is None else f"{scale * value:{form}}", value)


def mean_text(metric: Metric, summary: Summary) -> str:
    """Write `85.53 ± 0.12 (4)`; a single run has no deviation."""
    text = metric.show(summary.mean)
    return text if summary.std is None else f"{text} ± {metric.show(summary.std)} ({summary.n})"


def corner(keys: Sequence[str]) -> str:
    """Say which key the rows have, and which the columns: `zeta \\ eta`."""
    return " \\ ".join(key.rpartition(".")[2] for key in keys)

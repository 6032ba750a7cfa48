"""Benchmark tables from CSV files: a header, then one row per cell, in any order.

Which columns there are is said in `layouts.CSV_LAYOUTS`. A column that is not known is refused, so
that a misspelt dataset is not left out unnoticed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.benchmarks import nasbench101, nasbench201
from nasrun.benchmarks.layouts import CSV_LAYOUTS
from nasrun.benchmarks.nasbench101 import NUM_IMAGES, Graph, NasBench101Table
from nasrun.benchmarks.nasbench201 import EDGES, NasBench201Table
from nasrun.benchmarks.table import Arrays
from nasrun.errors import UsageError, closest
from nasrun.genotypes import text as genotypes
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.state import Progress
from nasrun.terminal.progress import tracked

MAX_ROWS = max(NasBench101Table.num_rows, NasBench201Table.num_rows)


@dataclass(frozen=True)
class Layout:
    """The columns of a benchmark, and what becomes of them."""

    cells: tuple[tuple[str, ...], ...]  # those that name the cell: one of these groups
    numbers: Mapping[str, float]  # the others: the highest value there can be
    needed: tuple[str, ...]
    parse: Callable[[Sequence[str]], Any]  # the words of a cell -> the cell
    condense: Callable[[list[Any], dict[str, np.ndarray], Progress], Arrays]


def read(space: str, path: Path, progress: Progress) -> Arrays:
    """The arrays of a table in the condensed form.

    Raises:
        UsageError: names the line that is not understood, or shows the layout where the header
            is another.
    """
    layout = LAYOUTS[space]
    rows = _rows(path)
    _, header = next(rows, (1, []))
    group = _check_header(space, layout, path, header)
    places = [header.index(name) for name in group]
    columns = [(name, header.index(name)) for name in layout.numbers if name in header]
    cells: list[Any] = []
    values: dict[str, list[float]] = {name: [] for name, _ in columns}
    for line, row in rows:
        try:
            if len(cells) == MAX_ROWS:
                raise UsageError(f"a table has at most {MAX_ROWS:,} rows")
            if len(row) != len(header):
                raise UsageError(f"it has {len(row)} fields, and the header {len(header)}")
            cells.append(layout.parse([row[place] for place in places]))
            for name, place in columns:
                values[name].append(_number(name, row[place], layout.numbers[name]))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    arrays = {name: np.array(numbers) for name, numbers in values.items()}
    return layout.condense(cells, arrays, progress)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(Line number, words) of each row that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield reader.line_num, [word.strip() for word in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV file: {error}") from None


def _check_header(space: str, layout: Layout, path: Path, header: Sequence[str]) -> tuple[str, ...]:
    """The columns that name the cell."""
    group = next((group for group in layout.cells if set(group) <= set(header)), layout.cells[0])
    missing = [name for name in (*group, *layout.needed) if name not in header]
    unknown = [name for name in header if name not in (*group, *layout.numbers)]
    problem = ""
    if missing:
        problem = f"its header lacks {', '.join(missing)}"
    elif unknown:
        problem = f"its column '{unknown[0][:60]}' is not known ({_meant(unknown[0], layout)})"
    elif len(set(header)) < len(header):
        problem = "it has a column twice"
    if problem:
        raise UsageError(f"{path}: {problem}; {CSV_LAYOUTS[space]}")
    return group


def _meant(name: str, layout: Layout) -> str:
    return closest(name, (*layout.numbers, *sum(layout.cells, ())))


def _number(name: str, word: str, highest: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not (0 <= value <= highest and math.isfinite(value)):
        limits = "0 or more" if math.isinf(highest) else f"in [0, {highest:g}]"
        raise UsageError(f"{name} must be a number, {limits}, not '{word[:60]}'")
    return value


def _parse_201(words: Sequence[str]) -> Genotype:
    """From the benchmark's string, or from the operations of the six edges."""
    if len(words) > 1:
        words = ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*words)]
    cell = genotypes.parse(words[0])
    for edge in cell.cells[0].edges:
        if edge.operation not in nasbench201.OPERATIONS:
            hint = closest(edge.operation, nasbench201.OPERATIONS)
            raise UsageError(f"there is no operation '{edge.operation[:60]}'; {hint}")
    return cell


def _condense_201(
    cells: list[Genotype], columns: dict[str, np.ndarray], progress: Progress
) -> Arrays:
    return nasbench201.condensed(cells, columns)


def _parse_101(words: Sequence[str]) -> Graph:
    adjacency, names = words
    return nasbench101.parse(adjacency, names.split())


def _condense_101(cells: list[Graph], columns: dict[str, np.ndarray], progress: Progress) -> Arrays:
    """Accuracies become counts of right answers; rows are sorted by their hashes."""
    hashes = [graph.hash for graph in tracked(cells, len(cells), progress)]
    for part in ("val", "test"):
        if f"{part}_accuracy" in columns:
            accuracy_R = columns.pop(f"{part}_accuracy")
            columns[f"{part}_correct_sum"] = np.rint(accuracy_R * NUM_IMAGES).astype(np.uint16)
    return nasbench101.condensed(cells, hashes, columns)


LAYOUTS: Mapping[str, Layout] = {
    "nasbench201": Layout(
        (("arch",), tuple(f"edge_{source}_{target}" for source, target in EDGES)),
        NasBench201Table.numbers,
        (),
        _parse_201,
        _condense_201,
    ),
    "nasbench101": Layout(
        (("adjacency", "operations"),),
        {"test_accuracy": 1.0, "val_accuracy": 1.0, "train_seconds": np.inf, "params": np.inf},
        ("test_accuracy",),
        _parse_101,
        _condense_101,
    ),
}

"""Read benchmark tables from CSV files: a header, then one row per architecture, in any order.

Which columns there are is said in the benchmark's file in `conf/benchmark`. A column that is not
known is refused, so that a misspelt dataset is not left out unnoticed.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark, Layout
from nasrun.benchmarks.table import Arrays
from nasrun.errors import UsageError, closest
from nasrun.protocols.state import Progress

INDEX = re.compile(r"|Unnamed: 0|index")  # the first column, where pandas wrote row numbers


def read(benchmark: Benchmark, path: Path, progress: Progress) -> Arrays:
    """Read the arrays of a table in the condensed form; the benchmark must have a layout.

    Raises:
        UsageError: names the line that is not understood, or shows the layout where the header
            is another.
    """
    layout, num_rows = benchmark.layout, benchmark.table.num_rows
    assert layout is not None
    rows = _rows(path)
    _, header = next(rows, (1, []))
    group = _check_header(benchmark, layout, path, header)
    places = [header.index(name) for name in group]
    highest = {name: most for name in header if (most := layout.highest(name)) is not None}
    columns = [(name, header.index(name)) for name in highest]
    cells: list[Any] = []
    values: dict[str, list[float]] = {name: [] for name, _ in columns}
    for line, row in rows:
        try:
            if len(cells) == num_rows:
                raise UsageError(f"a table of {benchmark.name} has at most {num_rows:,} rows")
            if len(row) != len(header):
                raise UsageError(f"it has {len(row)} fields, and the header {len(header)}")
            cells.append(layout.parse([row[place] for place in places]))
            for name, place in columns:
                lowest = layout.lowest.get(name, 0.0)
                values[name].append(_number(name, row[place], lowest, highest[name]))
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
    arrays = {name: np.array(numbers) for name, numbers in values.items()}
    return layout.condense(cells, arrays, progress)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, words) of each row that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield reader.line_num, [word.strip() for word in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a CSV file: {error}") from None


def _check_header(
    benchmark: Benchmark, layout: Layout, path: Path, header: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns that name the cell; raise `UsageError` for any other header."""
    group = next((group for group in layout.cells if set(group) <= set(header)), layout.cells[0])
    missing = [name for name in (*group, *layout.needed) if name not in header]
    unknown = [one for one in header if one not in group and layout.highest(one) is None]
    if header and unknown[:1] == header[:1] and INDEX.fullmatch(header[0]):
        unknown = unknown[1:]
    problem = ""
    if missing:
        problem = f"its header lacks {', '.join(missing)}"
    elif unknown:
        problem = f"its column '{unknown[0][:60]}' is not known ({_meant(unknown[0], layout)})"
    elif len(set(header)) < len(header):
        problem = "it has a column twice"
    if problem:
        has = f"a CSV file of {benchmark.name} has the columns {benchmark.csv}"
        raise UsageError(f"{path}: {problem}; {has}")
    return group


def _meant(name: str, layout: Layout) -> str:
    return closest(name, (*layout.numbers, *sum(layout.cells, ())))


def _number(name: str, word: str, lowest: float, highest: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not (lowest <= value <= highest and math.isfinite(value)):
        limits = f"in [{lowest:g}, {highest:g}]"
        if math.isinf(highest):
            limits = f"{lowest:g} or more"
        elif math.isinf(lowest):
            limits = f"{highest:g} or less"
        raise UsageError(f"{name} must be a number, {limits}, not '{word[:60]}'")
    return value

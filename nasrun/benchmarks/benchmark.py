"""Say what a benchmark is: its tables, the files they come in, and what must be true of them.

A benchmark is one module of this folder and one file of `conf/benchmark` that names its class; the
rest of the program finds it there. The simplest one has a `table` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from nasrun.benchmarks.checks import Best, Check, optima
from nasrun.benchmarks.table import Arrays, Table
from nasrun.protocols.state import Progress

Reader = Callable[[Path, Progress], Arrays]

Better = Literal["higher", "lower"]
Part = Literal["test", "validation"]

FOLDER = "/"  # a key of `readers`, in place of the end of a file's name


@dataclass(frozen=True)
class Layout:
    """The columns of a benchmark's CSV files, and what becomes of them."""

    cells: tuple[tuple[str, ...], ...]  # one of these groups names the architecture
    numbers: Mapping[str, float]  # other columns -> the highest value there can be
    needed: tuple[str, ...]
    parse: Callable[[Sequence[str]], Any]  # the words of an architecture -> the architecture
    condense: Callable[[list[Any], dict[str, np.ndarray], Progress], Arrays]
    beginnings: tuple[str, ...] = ()  # of the names of further columns, of numbers from 0 on
    lowest: Mapping[str, float] = field(default_factory=dict)  # of the numbers, where that is not 0

    def highest(self, name: str) -> float | None:
        """Return the highest value of a column of numbers; `None` for any other column."""
        return self.numbers.get(name, math.inf if name.startswith(self.beginnings) else None)


@dataclass(frozen=True)
class ColumnOptions:
    """What a person says of the columns of a file, where a benchmark does not know them."""

    values: tuple[tuple[str, ...], ...] = ()  # the words of each --value
    ignored: tuple[str, ...] = ()  # columns


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is known of a benchmark before one of its tables is there.

    A subclass sets `table`, and the other class attributes where they apply: how files other than
    those in the condensed form are read, and the published optima that an import must reach.

    Args:
        name: the name of its file in `conf/benchmark` and of its tables, and the NAME of
            `nasrun data import NAME`.
        official: the names of its official files, as a person is told them.
        csv: the columns of its CSV files, as a person is told them.
        address: of a file that `nasrun data fetch NAME` can fetch; empty for none.
        sha256: of that file, where its makers publish one.
        pages: where a person finds the files, as a clause, where there is no such address.
    """

    name: str
    official: str = ""
    csv: str = ""
    address: str = ""
    sha256: str = ""
    pages: str = ""

    table: ClassVar[type[Table]]
    readers: ClassVar[Mapping[str, Reader]] = {}  # for official files, by the end of their names
    layout: ClassVar[Layout | None] = None
    best: ClassVar[Mapping[str, Best]] = {}  # dataset -> the published optima
    describes_columns: ClassVar[bool] = False  # whether a person says what the columns are

    @property
    def space(self) -> str:
        """Return the search space of the architectures."""
        return self.table.space

    @property
    def label(self) -> str:
        """Return what the benchmark is called in a sentence.

        That is its space where it is that space's main benchmark, else its own name.
        """
        return f"space={self.name}" if self.name == self.space else self.name

    def read_described(self, path: Path, options: ColumnOptions) -> Arrays:
        """Read a file whose columns a person describes.

        Raises:
            UsageError: it is not understood.
        """
        raise NotImplementedError

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Yield the outcome of each check against published figures, the slowest last.

        What a table cannot be used without is checked when it is loaded; this is the rest.
        `arrays` are those that the table was made from.
        """
        yield Check("rows", True, f"{table.num_rows:,} cells, none of them twice")
        yield from optima(table, self.best)

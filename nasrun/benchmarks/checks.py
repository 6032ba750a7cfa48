"""Check whether a table is what it claims to be: figures must come out as published.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nasrun.benchmarks.table import Arrays, Table
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.integer_coded import IntegerCodedSpace

MAX_COSTS = 25_000  # rows whose parameters are counted; the rows are taken at even steps


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `figures` says what was found."""

    name: str
    passed: bool
    figures: str


@dataclass(frozen=True)
class Best:
    """The published optima of a dataset in percent, as exact as they were published."""

    validation: float
    test: float
    decimals: int


@dataclass(frozen=True)
class Cost:
    """What a column says of the networks that were trained on images of this shape."""

    shape: TaskShape
    position: int  # which value of `params_and_flops` it is


def optima(table: Table, best: Mapping[str, Best]) -> Iterator[Check]:
    """Check the best accuracies of each dataset whose optima were published."""
    for dataset, columns in table.datasets.items():
        if dataset not in best:
            continue
        published = best[dataset]
        if columns.validation_R is not None:
            name = f"{dataset} validation"
            yield _optimum(name, columns.validation_R, published.validation, published.decimals)
        yield _optimum(f"{dataset} test", columns.test_R, published.test, published.decimals)


def _optimum(name: str, accuracy_R: np.ndarray, published: float, decimals: int) -> Check:
    lowest, highest = 100 * float(accuracy_R.min()), 100 * float(accuracy_R.max())
    figures = f"{lowest:.2f} to {highest:.{decimals}f} %, published best {published:.{decimals}f} %"
    return Check(name, round(highest, decimals) == published, figures)


def costs(
    table: Table, arrays: Arrays, space: IntegerCodedSpace, columns: Mapping[str, Cost]
) -> Iterator[Check]:
    """Check columns of parameters and multiply-adds against the networks that this program builds.

    The networks of `space` have the size that was trained.
    """
    rows = range(0, table.num_rows, -(-table.num_rows // MAX_COSTS))
    for name, cost in columns.items():
        if name not in arrays:
            continue
        counted = (
            space.params_and_flops(table.genotype(row), cost.shape, NetworkSize())[cost.position]
            for row in rows
        )
        same = sum(
            int(count == arrays[name][row]) for row, count in zip(rows, counted, strict=True)
        )
        figures = f"{same:,} of {len(rows):,} rows agree with our networks"
        yield Check(name, same == len(rows), figures)

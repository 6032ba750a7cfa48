"""Whether a table is what it claims to be: figures that must come out as published.

What a table cannot be used without is checked when it is loaded; this is the rest, which takes
seconds (nasbench201) to a minute (nasbench101). Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nasrun.benchmarks.nasbench101 import NasBench101Table
from nasrun.benchmarks.table import Arrays, Table
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.protocols.state import Progress
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.terminal.progress import tracked

MAX_COSTS = 25_000  # rows whose parameters are counted; the rows are taken at even steps

SHAPES = {
    "cifar10": TaskShape(3, (32, 32), 10),
    "cifar100": TaskShape(3, (32, 32), 100),
    "imagenet16": TaskShape(3, (16, 16), 120),
}
NUM_CLASSES_201 = 6_466


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
class Benchmark:
    """What is known of a benchmark."""

    space: Callable[[], NasBench101 | NasBench201]  # networks of the size that was trained
    optima: Mapping[str, Best]
    costs: Mapping[str, tuple[str, int]]  # column -> dataset, 0 parameters or 1 multiply-adds
    cells: Callable[[Table, Arrays, Progress], Check]


def checks(table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
    """One after the other, the slowest last; `arrays` are those that the table was made from."""
    benchmark = BENCHMARKS[table.space]
    yield Check("rows", True, f"{table.num_rows:,} cells, none of them twice")
    for dataset, columns in table.datasets.items():
        best = benchmark.optima[dataset]
        if columns.validation_R is not None:
            name = f"{dataset} validation"
            yield _optimum(name, columns.validation_R, best.validation, best.decimals)
        yield _optimum(f"{dataset} test", columns.test_R, best.test, best.decimals)
    yield from _costs(benchmark, table, arrays)
    yield benchmark.cells(table, arrays, progress)


def _optimum(name: str, accuracy_R: np.ndarray, published: float, decimals: int) -> Check:
    lowest, highest = 100 * float(accuracy_R.min()), 100 * float(accuracy_R.max())
    figures = f"{lowest:.2f} to {highest:.{decimals}f} %, published best {published:.{decimals}f} %"
    return Check(name, round(highest, decimals) == published, figures)


def _costs(benchmark: Benchmark, table: Table, arrays: Arrays) -> Iterator[Check]:
    """The columns of parameters and multiply-adds against the networks that this program builds."""
    space = benchmark.space()
    rows = range(0, table.num_rows, -(-table.num_rows // MAX_COSTS))
    for name, (dataset, position) in benchmark.costs.items():
        if name not in arrays:
            continue
        counted = (
            space.params_and_flops(table.genotype(row), SHAPES[dataset], NetworkSize())[position]
            for row in rows
        )
        same = sum(
            int(count == arrays[name][row]) for row, count in zip(rows, counted, strict=True)
        )
        figures = f"{same:,} of {len(rows):,} rows agree with our networks"
        yield Check(name, same == len(rows), figures)


def _classes(table: Table, arrays: Arrays, progress: Progress) -> Check:
    """Cells that compute the same, by their formulas; and as the table groups them, if it does."""
    space = BENCHMARKS[table.space].space()
    genotypes = tracked(table.genotypes(), table.num_rows, progress)
    forms = [space.canonical(genotype) for genotype in genotypes]
    num_classes = len(set(forms))
    figures = f"{num_classes:,}, published {NUM_CLASSES_201:,}"
    passed = num_classes == NUM_CLASSES_201
    if "isomorphism_class" in arrays:
        ids = arrays["isomorphism_class"].tolist()
        same = len(set(zip(forms, ids, strict=True))) == len(set(ids)) == num_classes
        figures += "; the table groups them alike" if same else "; the table groups them otherwise"
        passed = passed and same
    return Check("isomorphism classes", passed, figures)


def _hashes(table: Table, arrays: Arrays, progress: Progress) -> Check:
    """Each row's graph hash is above that of the row before: the order is right, and no two cells
    are isomorphic."""
    assert isinstance(table, NasBench101Table)
    last, ascending, fitting = "", 0, 0
    for row in tracked(range(table.num_rows), table.num_rows, progress):
        graph = table.graph(row)
        found = graph.hash
        ascending += found > last
        fitting += graph.fits
        last = found
    figures = f"{ascending:,} of {table.num_rows:,} rows ascend, {fitting:,} are in the space"
    return Check("graph hashes", ascending == fitting == table.num_rows, figures)


BENCHMARKS: Mapping[str, Benchmark] = {
    "nasbench201": Benchmark(
        lambda: NasBench201(channels=16, cells=5, partial_channels=1),
        {
            "cifar10": Best(91.6067, 94.3733, 4),
            "cifar100": Best(73.4933, 73.5133, 4),
            "imagenet16": Best(46.77, 47.31, 2),
        },
        {
            f"{cost}_{dataset}": (dataset, position)
            for position, cost in enumerate(("params", "flops"))
            for dataset in SHAPES
        },
        _classes,
    ),
    "nasbench101": Benchmark(
        lambda: NasBench101(channels=128, cells=3),
        {"cifar10": Best(95.0554, 94.3176, 4)},
        {"params": ("cifar10", 0)},
        _hashes,
    ),
}

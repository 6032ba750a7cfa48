"""Read the table of NAS-Bench-201 after 200 epochs, means over the seeds.

Source: Dong, Yang, ICLR 2020, arXiv 2001.00326. Shapes: R rows, E = 6 edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from nasrun.benchmarks import nats_files
from nasrun.benchmarks.benchmark import FOLDER, Benchmark, Layout
from nasrun.benchmarks.checks import Best, Check, Cost, costs
from nasrun.benchmarks.table import Arrays, Columns, Table, span
from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import (
    EDGES,
    OPERATIONS,
    nasbench201_genotype,
    nasbench201_text,
    parse,
)
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.protocols.state import Progress
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.terminal.progress import tracked

SECONDS = {  # dataset -> the column of its training times
    "cifar10": "train_seconds_200_cifar10valid",
    "cifar100": "train_seconds_200_cifar100",
    "imagenet16": "train_seconds_200_imagenet16",
}
SHAPES: Mapping[str, TaskShape] = {  # the images that the networks were trained on
    "cifar10": TaskShape(3, (32, 32), 10),
    "cifar100": TaskShape(3, (32, 32), 100),
    "imagenet16": TaskShape(3, (16, 16), 120),
}


def condensed(genotypes: Iterable[Genotype], columns: Mapping[str, np.ndarray]) -> Arrays:
    """Lay out the arrays of a table whose rows are these cells; all operations are known."""
    digits = [_digits(genotype, OPERATIONS) for genotype in genotypes]
    return {"ops": np.array(digits, dtype=np.uint8), "op_names": np.array(OPERATIONS), **columns}


def condensed_without_names(
    cells: list[Genotype], columns: dict[str, np.ndarray], _: Progress
) -> Arrays:
    """Lay out the arrays without names of operations, by which tables of accuracies are known."""
    arrays = condensed(cells, columns)
    return {name: arrays[name] for name in arrays if name != "op_names"}


class NasBench201Cells(Table):
    """The rows of a table of all cells; a subclass says what columns there are.

    The operations are in the order of `OPERATIONS` where there are no `op_names`.
    """

    space = "nasbench201"
    num_rows = 15_625
    has_copies = True
    shapes: ClassVar[Mapping[str, TaskShape]] = SHAPES
    size = NetworkSize(channels=16, cells=5)

    def problems(self, arrays: Arrays) -> Iterator[str]:
        names = _names(arrays)
        if sorted(names) != sorted(OPERATIONS):
            yield f"op_names must be {', '.join(OPERATIONS)}"
        ops_RE = arrays["ops"]
        if ops_RE.shape != (self.num_rows, len(EDGES)) or ops_RE.dtype.kind not in "iu":
            yield (
                f"ops must be whole numbers of the shape ({self.num_rows}, {len(EDGES)}), one row "
                f"per cell, not {ops_RE.dtype} of {ops_RE.shape}"
            )
        elif ops_RE.min() < 0 or ops_RE.max() > 4:
            yield f"ops must be 0 to 4, not {ops_RE.min()} to {ops_RE.max()}"
        elif (num_doubles := self.num_rows - len(np.unique(_codes(ops_RE)))) > 0:
            yield f"{num_doubles} of the {self.num_rows} cells are there twice, as many are missing"

    def keep_cells(self, arrays: Arrays) -> None:
        """Keep what `row` and `genotype` need; for `read_columns` of a subclass to call."""
        self._names, self._ops_RE = _names(arrays), arrays["ops"]
        self._row_of = np.empty(self.num_rows, dtype=np.int64)
        self._row_of[_codes(self._ops_RE)] = np.arange(self.num_rows)

    def row(self, genotype: Genotype) -> int:
        if genotype.space != self.space:
            raise self._absent(genotype)
        try:
            digits = _digits(genotype, self._names)
        except (KeyError, ValueError):
            raise self._absent(genotype) from None
        return int(self._row_of[_codes(np.array(digits))])

    def genotype(self, row: int) -> Genotype:
        return nasbench201_genotype([self._names[digit] for digit in self._ops_RE[row].tolist()])

    def control(self) -> tuple[str, Genotype]:
        """Return the cell that any liking for convolutions finds."""
        return "nor_conv_3x3 on all edges", nasbench201_genotype(["nor_conv_3x3"] * len(EDGES))

    def text(self, row: int) -> str:
        return nasbench201_text(self.genotype(row))


class NasBench201Table(NasBench201Cells):
    """Validation and test accuracy of all cells on one dataset or more."""

    required = ("ops", "op_names")
    offers = tuple(SECONDS)
    numbers = (
        {f"{dataset}_{part}_200": 100.0 for dataset in SECONDS for part in ("val", "test")}
        | {f"{dataset}_val_12": 100.0 for dataset in SECONDS}
        | dict.fromkeys(SECONDS.values(), np.inf)
        | {f"{cost}_{dataset}": np.inf for cost in ("params", "flops") for dataset in SECONDS}
        | {f"{dataset}_num_trainings_200": np.inf for dataset in SECONDS}
        | {"isomorphism_class": np.inf, "n_seeds_200": np.inf}
    )

    def problems(self, arrays: Arrays) -> Iterator[str]:
        yield from super().problems(arrays)
        if not any(f"{dataset}_val_200" in arrays for dataset in SECONDS):
            yield "it has no accuracies: no column is named cifar10_val_200 or the like"
        for dataset in SECONDS:
            accuracies = (f"{dataset}_val_200", f"{dataset}_test_200")
            found = [name for name in accuracies if name in arrays]
            if len(found) == 1:
                yield f"it has {found[0]}, and lacks the other of {' and '.join(accuracies)}"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self.keep_cells(arrays)
        return {
            dataset: Columns(
                arrays[f"{dataset}_val_200"] / 100.0,
                arrays[f"{dataset}_test_200"] / 100.0,
                arrays.get(seconds),
                trainings=_trainings(arrays, dataset),
                epochs=200,
                shorter=_shorter(arrays, dataset),
            )
            for dataset, seconds in SECONDS.items()
            if f"{dataset}_val_200" in arrays
        }


def _shorter(arrays: Arrays, dataset: str) -> dict[int, np.ndarray]:
    """Return the validation accuracies after the 12 epochs, a training of its own, where known."""
    name = f"{dataset}_val_12"
    return {12: arrays[name] / 100.0} if name in arrays else {}


def _trainings(arrays: Arrays, dataset: str) -> str | None:
    """Return how many trainings are behind the means of a cell, where the table says so."""
    count_R = arrays.get(f"{dataset}_num_trainings_200", arrays.get("n_seeds_200"))
    return None if count_R is None else span(count_R)


def _names(arrays: Arrays) -> list[str]:
    """Return the operations that the digits stand for; nothing where that is no list of names."""
    names = arrays.get("op_names", np.array(OPERATIONS))
    return [str(name) for name in names] if names.ndim == 1 else []


def _digits(genotype: Genotype, names: Sequence[str]) -> list[int]:
    """Return the operation of each edge as its position in `names`."""
    found = {(s, t): operation for operation, s, t in genotype.cell("cell").edges}
    return [names.index(found[edge]) for edge in EDGES]


def _codes(ops_RE: np.ndarray) -> np.ndarray:
    """Return one number per cell, codes_R, whose digits to base 5 are its operations."""
    return ops_RE.astype(np.int64) @ 5 ** np.arange(6)


NUM_CLASSES = 6_466  # published classes of isomorphic cells


def _read_official(path: Path, progress: Progress) -> Arrays:
    return condensed(*nats_files.read(path, SECONDS, progress))


def _parse_words(words: Sequence[str]) -> Genotype:
    """Read a cell from the benchmark's string, or from the operations of the six edges."""
    cell = parse(words[0]) if len(words) == 1 else nasbench201_genotype(words)
    for edge in cell.cells[0].edges:
        if edge.operation not in OPERATIONS:
            hint = closest(edge.operation, OPERATIONS)
            raise UsageError(f"there is no operation '{edge.operation[:60]}'; {hint}")
    return cell


def _condense(cells: list[Genotype], columns: dict[str, np.ndarray], _: Progress) -> Arrays:
    return condensed(cells, columns)


class NasBench201Benchmark(Benchmark):
    """What was published of NAS-Bench-201, and its files."""

    table = NasBench201Table
    readers = {".pbz2": _read_official, FOLDER: _read_official}  # noqa: RUF012 - see the base class
    layout: ClassVar[Layout] = Layout(
        (("arch",), tuple(f"edge_{source}_{target}" for source, target in EDGES)),
        NasBench201Table.numbers,
        (),
        _parse_words,
        _condense,
    )
    best = {  # noqa: RUF012
        "cifar10": Best(91.6067, 94.3733, 4),
        "cifar100": Best(73.4933, 73.5133, 4),
        "imagenet16": Best(46.77, 47.31, 2),
    }

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check also the parameters, the multiply-adds and, in seconds, the classes of cells."""
        yield from super().checks(table, arrays, progress)
        space = NasBench201(channels=16, cells=5, partial_channels=1)  # as trained
        columns = {
            f"{cost}_{dataset}": Cost(shape, position)
            for position, cost in enumerate(("params", "flops"))
            for dataset, shape in SHAPES.items()
        }
        yield from costs(table, arrays, space, columns)
        yield self._classes(space, table, arrays, progress)

    def _classes(
        self, space: NasBench201, table: Table, arrays: Arrays, progress: Progress
    ) -> Check:
        """Check how many classes of cells compute the same, by their formulas.

        Where the table has classes of its own, they must be the same.
        """
        cells = tracked(table.genotypes(), table.num_rows, progress)
        forms = [space.canonical(genotype) for genotype in cells]
        num_classes = len(set(forms))
        figures = f"{num_classes:,}, published {NUM_CLASSES:,}"
        passed = num_classes == NUM_CLASSES
        if "isomorphism_class" in arrays:
            ids = arrays["isomorphism_class"].tolist()
            same = len(set(zip(forms, ids, strict=True))) == len(set(ids)) == num_classes
            how = "alike" if same else "otherwise"
            figures += f"; the table groups them {how}"
            passed = passed and same
        return Check("isomorphism classes", passed, figures)

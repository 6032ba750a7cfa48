"""The table of NAS-Bench-201 (Dong, Yang, ICLR 2020, arXiv 2001.00326) after 200 epochs, means over
the seeds. Shapes: R rows, E = 6 edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.nasbench201 import NODES, nasbench201_text

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SECONDS = {  # dataset -> the column of its training times
    "cifar10": "train_seconds_200_cifar10valid",
    "cifar100": "train_seconds_200_cifar100",
    "imagenet16": "train_seconds_200_imagenet16",
}


def condensed(genotypes: Iterable[Genotype], columns: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of a table whose rows are these cells; all operations are known."""
    digits = [_digits(genotype, OPERATIONS) for genotype in genotypes]
    return {"ops": np.array(digits, dtype=np.uint8), "op_names": np.array(OPERATIONS), **columns}


class NasBench201Table(Table):
    """Validation and test accuracy of all cells on one dataset or more."""

    space = "nasbench201"
    num_rows = 15_625
    has_copies = True
    required = ("ops", "op_names")
    numbers = (
        {f"{dataset}_{part}_200": 100.0 for dataset in SECONDS for part in ("val", "test")}
        | dict.fromkeys(SECONDS.values(), np.inf)
        | {f"{cost}_{dataset}": np.inf for cost in ("params", "flops") for dataset in SECONDS}
        | {"isomorphism_class": np.inf}
    )

    def problems(self, arrays: Arrays) -> Iterator[str]:
        names = arrays["op_names"]
        if names.shape != (5,) or sorted(names.tolist()) != sorted(OPERATIONS):
            yield f"op_names must be {', '.join(OPERATIONS)}"
        ops_RE = arrays["ops"]
        if ops_RE.shape != (self.num_rows, 6) or ops_RE.dtype.kind not in "iu":
            yield (
                f"ops must be whole numbers of the shape ({self.num_rows}, 6), one row per cell, "
                f"not {ops_RE.dtype} of {ops_RE.shape}"
            )
        elif ops_RE.min() < 0 or ops_RE.max() > 4:
            yield f"ops must be 0 to 4, not {ops_RE.min()} to {ops_RE.max()}"
        elif (num_doubles := self.num_rows - len(np.unique(_codes(ops_RE)))) > 0:
            yield f"{num_doubles} of the {self.num_rows} cells are there twice, as many are missing"
        if not any(f"{dataset}_val_200" in arrays for dataset in SECONDS):
            yield "it has no accuracies: no column is named cifar10_val_200 or the like"
        for dataset in SECONDS:
            accuracies = (f"{dataset}_val_200", f"{dataset}_test_200")
            found = [name for name in accuracies if name in arrays]
            if len(found) == 1:
                yield f"it has {found[0]}, and lacks the other of {' and '.join(accuracies)}"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self._names = [str(name) for name in arrays["op_names"]]
        self._ops_RE = arrays["ops"]
        self._row_of = np.empty(self.num_rows, dtype=np.int64)
        self._row_of[_codes(self._ops_RE)] = np.arange(self.num_rows)
        return {
            dataset: Columns(
                arrays[f"{dataset}_val_200"] / 100.0,
                arrays[f"{dataset}_test_200"] / 100.0,
                arrays.get(seconds),
            )
            for dataset, seconds in SECONDS.items()
            if f"{dataset}_val_200" in arrays
        }

    def row(self, genotype: Genotype) -> int:
        if genotype.space != self.space:
            raise self._absent(genotype)
        try:
            digits = _digits(genotype, self._names)
        except (KeyError, ValueError):
            raise self._absent(genotype) from None
        return int(self._row_of[_codes(np.array(digits))])

    def genotype(self, row: int) -> Genotype:
        return self._cell(self._names[digit] for digit in self._ops_RE[row].tolist())

    def control(self) -> tuple[str, Genotype]:
        """Any liking for convolutions finds it."""
        return "nor_conv_3x3 on all edges", self._cell(["nor_conv_3x3"] * len(EDGES))

    def _cell(self, operations: Iterable[str]) -> Genotype:
        pairs = zip(operations, EDGES, strict=True)
        edges = tuple(Edge(operation, *edge) for operation, edge in pairs)
        return Genotype(self.space, (Cell("cell", NODES, edges),))

    def text(self, row: int) -> str:
        return nasbench201_text(self.genotype(row))


def _digits(genotype: Genotype, names: Sequence[str]) -> list[int]:
    """The operation of each edge as its position in `names`."""
    found = {(s, t): operation for operation, s, t in genotype.cell("cell").edges}
    return [names.index(found[edge]) for edge in EDGES]


def _codes(ops_RE: np.ndarray) -> np.ndarray:
    """One number per cell, codes_R: the digits are its operations."""
    return ops_RE.astype(np.int64) @ 5 ** np.arange(6)

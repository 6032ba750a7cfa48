"""Benchmark tables: how well each architecture of a space does, measured once and for all.

A table is an .npz file in the condensed form whose arrays `README` inside it describes. Everything
is checked when it is loaded, nothing is unpickled, and the runs of one process share it.
Shapes: R rows (one per architecture), E edges.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from nasrun.errors import UsageError, closest, raise_together
from nasrun.genotype import NASBENCH201_NODES, Cell, Edge, Genotype
from nasrun.graph_hash import cell_hash

Arrays = Mapping[str, np.ndarray]

VALIDATION = "validation accuracy"
TEST = "mean test accuracy (the table has no validation column)"


@dataclass(frozen=True)
class Columns:
    """What a table says of one dataset. Accuracies are fractions, float64."""

    validation_R: np.ndarray | None
    test_R: np.ndarray  # for the end of a search only, where there is a validation column
    seconds_R: np.ndarray | None  # of the training behind the accuracies

    @property
    def signal(self) -> str:
        """The name of what a search sees."""
        return TEST if self.validation_R is None else VALIDATION

    @property
    def signal_R(self) -> np.ndarray:
        """What a search sees: higher is better."""
        return self.test_R if self.validation_R is None else self.validation_R

    def regret(self, row: int) -> float:
        """How far the row's signal is below the best of the space; 0 is the optimum."""
        return float(self.signal_R.max() - self.signal_R[row])

    def percentile(self, row: int) -> float:
        """Percent of the architectures whose test accuracy is at most that of the row."""
        return 100.0 * float((self.test_R <= self.test_R[row]).mean())


class Table(ABC):
    """A loaded table. A subclass knows one space.

    Raises:
        UsageError: arrays that are missing, do not fit together or hold impossible values.
    """

    space: ClassVar[str]
    num_rows: ClassVar[int]
    required: ClassVar[tuple[str, ...]]  # arrays without which there is no table

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self.path = path
        self._genes_RD: np.ndarray | None = None
        raise_together(f"{path}: {problem}" for problem in self.problems(arrays))
        self.datasets = self.read_columns(arrays)

    def columns(self, dataset: str) -> Columns:
        """Raises `UsageError` for a dataset that the table has not got."""
        if dataset not in self.datasets:
            raise UsageError(
                f"dataset={dataset} has no column in the table {self.path}; "
                f"{closest(dataset, self.datasets)}"
            )
        return self.datasets[dataset]

    def genotypes(self) -> Iterator[Genotype]:
        """All architectures in the order of the rows."""
        return map(self.genotype, range(self.num_rows))

    def genes(self, encode: Callable[[Genotype], Sequence[int]]) -> np.ndarray:
        """genes_RD of all rows, by the `encode` of the space; kept for the other runs of a sweep,
        since it takes a quarter of a second."""
        if self._genes_RD is None:
            self._genes_RD = np.array([encode(genotype) for genotype in self.genotypes()])
        return self._genes_RD

    def control(self) -> tuple[str, Genotype] | None:
        """A cell that nobody needs to search for, and what it is called, where there is one."""
        return None

    @abstractmethod
    def problems(self, arrays: Arrays) -> Iterator[str]:
        """One sentence for everything that is wrong with the arrays, all of which are there."""

    @abstractmethod
    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        """Dataset -> columns; also keeps what `row` and `genotype` need."""

    @abstractmethod
    def row(self, genotype: Genotype) -> int:
        """The row of an architecture; raises `UsageError` where it is not of the space."""

    @abstractmethod
    def genotype(self, row: int) -> Genotype:
        """The architecture of a row."""

    def _absent(self, genotype: Genotype) -> UsageError:
        return UsageError(
            f"the table {self.path} of space={self.space} has no row for the genotype "
            f"{genotype.short_id} of space '{genotype.space}'"
        )


class NasBench201Table(Table):
    """NAS-Bench-201 (Dong, Yang, ICLR 2020) after 200 epochs, means over the seeds."""

    space = "nasbench201"
    num_rows = 15_625
    required = ("ops", "op_names")
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    edges = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    seconds = {  # noqa: RUF012 - dataset -> its column
        "cifar10": "train_seconds_200_cifar10valid",
        "cifar100": "train_seconds_200_cifar100",
        "imagenet16": "train_seconds_200_imagenet16",
    }

    def problems(self, arrays: Arrays) -> Iterator[str]:
        names = arrays["op_names"]
        if names.shape != (5,) or sorted(names.tolist()) != sorted(self.operations):
            yield f"op_names must be {', '.join(self.operations)}"
        ops_RE = arrays["ops"]
        if ops_RE.shape != (self.num_rows, 6) or ops_RE.dtype.kind not in "iu":
            yield (
                f"ops must be whole numbers of the shape ({self.num_rows}, 6), one row per cell, "
                f"not {ops_RE.dtype} of {ops_RE.shape}"
            )
        elif ops_RE.min() < 0 or ops_RE.max() > 4:
            yield f"ops must be 0 to 4, not {ops_RE.min()} to {ops_RE.max()}"
        elif (num_doubles := self.num_rows - len(np.unique(self._codes(ops_RE)))) > 0:
            yield f"{num_doubles} of the {self.num_rows} cells are there twice, as many are missing"
        if not any(f"{dataset}_val_200" in arrays for dataset in self.seconds):
            yield "it has no accuracies: no column is named cifar10_val_200 or the like"
        for dataset, seconds in self.seconds.items():
            accuracies = (f"{dataset}_val_200", f"{dataset}_test_200")
            found = [name for name in accuracies if name in arrays]
            if len(found) == 1:
                yield f"it has {found[0]}, and lacks the other of {' and '.join(accuracies)}"
            for name in found:
                yield from self._number_problems(name, arrays[name], 100.0)
            if seconds in arrays:
                yield from self._number_problems(seconds, arrays[seconds], np.inf)

    def _number_problems(self, name: str, values_R: np.ndarray, highest: float) -> Iterator[str]:
        if values_R.shape != (self.num_rows,) or values_R.dtype.kind not in "fiu":
            yield (
                f"{name} must be {self.num_rows} numbers, not {values_R.dtype} of the shape "
                f"{values_R.shape}"
            )
        elif not np.isfinite(values_R).all():
            yield f"{name} has {int((~np.isfinite(values_R)).sum())} values that are not finite"
        elif values_R.min() < 0 or values_R.max() > highest:
            yield (
                f"{name} must be in [0, {highest:g}], not {values_R.min():g} to {values_R.max():g}"
            )

    def _codes(self, ops_RE: np.ndarray) -> np.ndarray:
        """One number per cell, codes_R: the digits are its operations."""
        return ops_RE.astype(np.int64) @ 5 ** np.arange(6)

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self._names = [str(name) for name in arrays["op_names"]]
        self._ops_RE = arrays["ops"]
        self._row_of = np.empty(self.num_rows, dtype=np.int64)
        self._row_of[self._codes(self._ops_RE)] = np.arange(self.num_rows)
        return {
            dataset: Columns(
                arrays[f"{dataset}_val_200"] / 100.0,
                arrays[f"{dataset}_test_200"] / 100.0,
                arrays.get(seconds),
            )
            for dataset, seconds in self.seconds.items()
            if f"{dataset}_val_200" in arrays
        }

    def row(self, genotype: Genotype) -> int:
        if genotype.space != self.space:
            raise self._absent(genotype)
        found = {(s, t): operation for operation, s, t in genotype.cell("cell").edges}
        try:
            digits = [self._names.index(found[edge]) for edge in self.edges]
        except (KeyError, ValueError):
            raise self._absent(genotype) from None
        return int(self._row_of[self._codes(np.array(digits))])

    def genotype(self, row: int) -> Genotype:
        return self._cell(self._names[digit] for digit in self._ops_RE[row].tolist())

    def control(self) -> tuple[str, Genotype]:
        """Any liking for convolutions finds it."""
        return "nor_conv_3x3 on all edges", self._cell(["nor_conv_3x3"] * len(self.edges))

    def _cell(self, operations: Iterable[str]) -> Genotype:
        pairs = zip(operations, self.edges, strict=True)
        edges = tuple(Edge(operation, *edge) for operation, edge in pairs)
        return Genotype(self.space, (Cell("cell", NASBENCH201_NODES, edges),))


class NasBench101Table(Table):
    """NAS-Bench-101 (Ying et al., ICML 2019) after 108 epochs: the mean test accuracy only.

    The rows ascend by the graph hash, which the file does not hold: a row is found by an
    interpolation search that hashes the rows it looks at, four or five of them.
    """

    space = "nasbench101"
    num_rows = 423_624
    required = ("n_vertices", "adjacency_bits", "ops", "op_names", "test_correct_sum")
    operations = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    pairs = tuple((x, y) for y in range(1, 7) for x in range(y))  # in the order of the bits
    num_images = 29_952  # behind `test_correct_sum`: 3 trainings, 9,984 test images
    num_probes = 100  # rows, and the rows after them, whose order is checked

    def problems(self, arrays: Arrays) -> Iterator[str]:
        if arrays["op_names"].tolist() != list(self.operations):
            yield f"op_names must be {', '.join(self.operations)}, in this order"
        shapes = dict.fromkeys(self.required, (self.num_rows,)) | {"ops": (self.num_rows, 5)}
        wrong = [
            f"{name} must be whole numbers of the shape {shapes[name]}, one row per cell, not "
            f"{arrays[name].dtype} of {arrays[name].shape}"
            for name in self.required
            if name != "op_names"
            and (arrays[name].shape != shapes[name] or arrays[name].dtype.kind not in "iu")
        ]
        yield from wrong or self._value_problems(arrays)

    def _value_problems(self, arrays: Arrays) -> Iterator[str]:
        num_R, bits_R = (arrays[n].astype(np.int64) for n in ("n_vertices", "adjacency_bits"))
        correct_R = arrays["test_correct_sum"]
        if correct_R.min() < 0 or correct_R.max() > self.num_images:
            yield f"test_correct_sum must be 0 to {self.num_images}, and goes to {correct_R.max()}"
        exists_R5 = np.arange(5) < num_R[:, None] - 2
        fits_R = ((arrays["ops"] <= 2) == exists_R5).all(axis=1) & (num_R >= 2) & (num_R <= 7)
        fits_R &= (bits_R > 0) & (bits_R < 1 << num_R * (num_R - 1) // 2)
        if not fits_R.all():
            yield f"{int((~fits_R).sum())} rows have vertices, edges or ops that do not fit"
            return
        digits_R = np.where(exists_R5, arrays["ops"], 0).astype(np.int64) @ 3 ** np.arange(5)
        num_cells = len(np.unique((num_R << 40) | (bits_R << 16) | digits_R))
        if num_cells < self.num_rows:
            yield f"{self.num_rows - num_cells} of the rows are there twice, as many are missing"
            return
        self._num_R, self._bits_R, self._ops_R5 = num_R, bits_R, arrays["ops"]
        probes = np.linspace(0, self.num_rows - 2, self.num_probes).astype(int)
        if any(self._key(row) >= self._key(row + 1) for row in probes):
            yield "its rows do not ascend by the graph hash, or isomorphic cells are there twice"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        return {"cifar10": Columns(None, arrays["test_correct_sum"] / self.num_images, None)}

    def row(self, genotype: Genotype) -> int:
        cell = genotype.cell("cell")
        names = cell.nodes[1:-1]
        if genotype.space != self.space or not set(names) <= set(self.operations):
            raise self._absent(genotype)
        operations = [self.operations.index(name) for name in names]
        key = int(cell_hash(operations, tuple((s, t) for _, s, t in cell.edges)), 16)
        low, high, low_key, high_key = 0, self.num_rows - 1, 0, 1 << 128
        while low <= high:
            share = (key - low_key) * (high - low) // (high_key - low_key)
            middle = low + min(max(share, 0), high - low)
            found = self._key(middle)
            if found == key:
                return middle
            if found < key:
                low, low_key = middle + 1, found
            else:
                high, high_key = middle - 1, found
        raise self._absent(genotype)

    def genotype(self, row: int) -> Genotype:
        operations, pairs = self._graph(row)
        nodes = ("input", *(self.operations[i] for i in operations), "output")
        return Genotype(self.space, (Cell("cell", nodes, tuple(Edge("", *p) for p in pairs)),))

    def _graph(self, row: int) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        bits, num_interior = int(self._bits_R[row]), int(self._num_R[row]) - 2
        pairs = tuple(pair for i, pair in enumerate(self.pairs) if bits >> i & 1)
        return self._ops_R5[row, :num_interior].tolist(), pairs

    def _key(self, row: int) -> int:
        return int(cell_hash(*self._graph(row)), 16)


TABLES: Mapping[str, type[Table]] = {
    table.space: table for table in (NasBench101Table, NasBench201Table)
}


def load(space: str, file: str | None = None) -> Table:
    """The table of a space, from `file` or from where tables are kept.

    Raises:
        UsageError: there is no such table, or something is wrong with it.
    """
    if space not in TABLES:
        raise UsageError(
            f"evaluator=table is not possible with space={space}: there are tables of "
            f"{' and '.join(TABLES)}"
        )
    path = locate(space, file)
    status = path.stat()
    return _load(space, path, status.st_mtime_ns, status.st_size)


def locate(space: str, file: str | None = None) -> Path:
    """Where the table is: `file`, else `NASRUN_DATA`, else the user's cache folder."""
    if file is not None:
        path = Path(file).expanduser()
        if not path.is_file():
            raise UsageError(f"evaluator.file={file} is not there")
        return path
    places = [cache_folder() / f"{space}.npz"]
    if os.environ.get("NASRUN_DATA"):
        places.insert(0, Path(os.environ["NASRUN_DATA"]) / f"{space}.npz")
    for path in places:
        if path.is_file():
            return path
    raise UsageError(
        f"there is no table of space={space} (looked for {' and '.join(map(str, places))}): "
        "say where it is with evaluator.file=FILE"
    )


def cache_folder() -> Path:
    """Where imported tables are kept, by the XDG convention."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "nasrun" / "tables"


@cache  # the runs of a sweep share one table; a file that has changed is another one
def _load(space: str, path: Path, _modified_ns: int, _size: int) -> Table:
    arrays = read_arrays(path)
    kind = TABLES[space]
    missing = [name for name in kind.required if name not in arrays]
    if missing:
        others = [
            name for name, other in TABLES.items() if set(other.required) <= set(arrays.keys())
        ]
        what = f"is a table of space={others[0]}" if others else f"lacks {', '.join(missing)}"
        raise UsageError(f"{path} is no table of space={space}: it {what}")
    return kind(path, arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; raises `UsageError` where it is none, or holds objects."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it has another format, or was cut off")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path} is not a table, an .npz file of arrays: {error}") from None

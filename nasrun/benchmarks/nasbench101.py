"""Read the table of NAS-Bench-101 after 108 epochs.

Source: Ying et al., ICML 2019, arXiv 1902.09635.

Accuracies are counts of right answers over three trainings, so that nothing is rounded. The rows
ascend by the graph hash, which is not stored: a row is found by an interpolation search that hashes
the rows it looks at, four or five of them. Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from nasrun.benchmarks import tfrecord_files
from nasrun.benchmarks.benchmark import Benchmark, Layout
from nasrun.benchmarks.checks import Best, Check, Cost, costs
from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench101 import (
    OPERATIONS,
    PAIRS,
    Graph,
    nasbench101_text,
    parse,
)
from nasrun.genotypes.nasbench101_hash import cell_hash
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.protocols.state import Progress
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.terminal.progress import tracked

NUM_IMAGES = tfrecord_files.NUM_REPEATS * tfrecord_files.IMAGES_PER_REPEAT  # images behind a count
SHAPES = {"cifar10": TaskShape(3, (32, 32), 10)}  # the images that the networks were trained on
NO_VERTEX = 255
NUM_PROBES = 100  # rows, and the rows after them, whose order is checked when a table is loaded


def condensed(
    graphs: Sequence[Graph], hashes: Sequence[str], columns: Mapping[str, np.ndarray]
) -> Arrays:
    """Lay out the arrays of a table of these cells, with the rows sorted by their hashes."""
    order_R = np.argsort(np.array(hashes, dtype="S32"))
    bits = {pair: 1 << position for position, pair in enumerate(PAIRS)}
    ops_R5 = np.full((len(graphs), 5), NO_VERTEX, dtype=np.uint8)
    for row, graph in enumerate(graphs):
        ops_R5[row, : len(graph.operations)] = graph.operations
    unsorted: dict[str, np.ndarray] = {
        "n_vertices": np.array([len(g.operations) + 2 for g in graphs], dtype=np.uint8),
        "adjacency_bits": np.array(
            [sum(bits[pair] for pair in g.pairs) for g in graphs], dtype=np.uint32
        ),
        "ops": ops_R5,
        **columns,
    }
    rows = {name: values_R[order_R] for name, values_R in unsorted.items()}
    return {**rows, "op_names": np.array(OPERATIONS)}


class NasBench101Table(Table):
    """Test accuracy of all cells on CIFAR-10, and validation accuracy where it is known."""

    space = "nasbench101"
    num_rows = 423_624
    size = NetworkSize(channels=128, cells=3)
    has_copies = False
    shapes = SHAPES
    required = ("n_vertices", "adjacency_bits", "ops", "op_names", "test_correct_sum")
    numbers = {  # noqa: RUF012 - as the base class has it
        "test_correct_sum": NUM_IMAGES,
        "val_correct_sum": NUM_IMAGES,
        "train_seconds": np.inf,
        "params": np.inf,
    }

    def problems(self, arrays: Arrays) -> Iterator[str]:
        if arrays["op_names"].tolist() != list(OPERATIONS):
            yield f"op_names must be {', '.join(OPERATIONS)}, in this order"
        shapes = {"n_vertices": (), "adjacency_bits": (), "ops": (5,)}
        wrong = [
            f"{name} must be whole numbers of the shape {(self.num_rows, *shape)}, one row per "
            f"cell, not {arrays[name].dtype} of {arrays[name].shape}"
            for name, shape in shapes.items()
            if arrays[name].shape != (self.num_rows, *shape) or arrays[name].dtype.kind not in "iu"
        ]
        yield from wrong or self._cell_problems(arrays)

    def _cell_problems(self, arrays: Arrays) -> Iterator[str]:
        num_R, bits_R = (arrays[n].astype(np.int64) for n in ("n_vertices", "adjacency_bits"))
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
        probes = np.linspace(0, self.num_rows - 2, NUM_PROBES).astype(int)
        if any(self.graph(row).hash >= self.graph(row + 1).hash for row in probes):
            yield "its rows do not ascend by the graph hash, or isomorphic cells are there twice"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        validation_R = (
            arrays["val_correct_sum"] / NUM_IMAGES if "val_correct_sum" in arrays else None
        )
        test_R = arrays["test_correct_sum"] / NUM_IMAGES
        seconds_R, trainings = arrays.get("train_seconds"), str(tfrecord_files.NUM_REPEATS)
        return {"cifar10": Columns(validation_R, test_R, seconds_R, trainings=trainings)}

    def row(self, genotype: Genotype) -> int:
        """Find the row of an architecture by an interpolation search over the hashes.

        Hashes are spread evenly, so that where the key lies between two known ones tells where to
        look.
        """
        cell = genotype.cell("cell")
        names = cell.nodes[1:-1]
        if genotype.space != self.space or not set(names) <= set(OPERATIONS):
            raise self._absent(genotype)
        operations = [OPERATIONS.index(name) for name in names]
        key = int(cell_hash(operations, tuple((s, t) for _, s, t in cell.edges)), 16)
        low, high, low_key, high_key = 0, self.num_rows - 1, 0, 1 << 128
        while low <= high:
            share = (key - low_key) * (high - low) // (high_key - low_key)
            middle = low + min(max(share, 0), high - low)
            found = int(self.graph(middle).hash, 16)
            if found == key:
                return middle
            if found < key:
                low, low_key = middle + 1, found
            else:
                high, high_key = middle - 1, found
        raise self._absent(genotype)

    def genotype(self, row: int) -> Genotype:
        return self.graph(row).genotype

    def text(self, row: int) -> str:
        return nasbench101_text(self.genotype(row))

    def graph(self, row: int) -> Graph:
        bits, num_interior = int(self._bits_R[row]), int(self._num_R[row]) - 2
        pairs = tuple(pair for i, pair in enumerate(PAIRS) if bits >> i & 1)
        return Graph(tuple(self._ops_R5[row, :num_interior].tolist()), pairs)


def _read_official(path: Path, progress: Progress) -> Arrays:
    return condensed(*tfrecord_files.read(path, progress))


def _parse_words(words: Sequence[str]) -> Graph:
    adjacency, names = words
    return parse(adjacency, names.split())


def _condense(cells: list[Graph], columns: dict[str, np.ndarray], progress: Progress) -> Arrays:
    """Turn accuracies into counts of right answers, and sort the rows by their hashes."""
    hashes = [graph.hash for graph in tracked(cells, len(cells), progress)]
    for part in ("val", "test"):
        if f"{part}_accuracy" in columns:
            accuracy_R = columns.pop(f"{part}_accuracy")
            columns[f"{part}_correct_sum"] = np.rint(accuracy_R * NUM_IMAGES).astype(np.uint16)
    return condensed(cells, hashes, columns)


class NasBench101Benchmark(Benchmark):
    """What was published of NAS-Bench-101, and its files."""

    table = NasBench101Table
    readers = {".tfrecord": _read_official}  # noqa: RUF012 - as the base class has it
    layout = Layout(
        (("adjacency", "operations"),),
        {"test_accuracy": 1.0, "val_accuracy": 1.0, "train_seconds": np.inf, "params": np.inf},
        ("test_accuracy",),
        _parse_words,
        _condense,
    )
    best = {"cifar10": Best(95.0554, 94.3176, 4)}  # noqa: RUF012

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check also the parameters and, in a minute, all hashes."""
        yield from super().checks(table, arrays, progress)
        trained = NasBench101(channels=128, cells=3)
        yield from costs(table, arrays, trained, {"params": Cost(SHAPES["cifar10"], 0)})
        yield self._hashes(table, progress)

    def _hashes(self, table: Table, progress: Progress) -> Check:
        """Check that each row's graph hash is above that of the row before.

        Then the order is right, and no two cells are isomorphic.
        """
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

"""The table of NAS-Bench-101 (Ying et al., ICML 2019, arXiv 1902.09635) after 108 epochs.

Accuracies are counts of right answers over three trainings, so that nothing is rounded. The rows
ascend by the graph hash, which is not stored: a row is found by an interpolation search that hashes
the rows it looks at, four or five of them. Shapes: R rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.nasbench101_hash import Pairs, cell_hash, used_vertices

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9
PAIRS = tuple((x, y) for y in range(1, MAX_VERTICES) for x in range(y))  # in the order of the bits
NUM_IMAGES = 29_952  # behind each count: 3 trainings, 9,984 images
NO_VERTEX = 255
NUM_PROBES = 100  # rows, and the rows after them, whose order is checked when a table is loaded


class Graph(NamedTuple):
    """A cell as the table holds it."""

    operations: tuple[int, ...]  # of the vertices between input and output
    pairs: Pairs

    @property
    def hash(self) -> str:
        return cell_hash(self.operations, self.pairs)

    @property
    def fits(self) -> bool:
        """Whether each vertex is on a path from input to output, and the edges are few enough."""
        last = len(self.operations) + 1
        all_vertices = (1 << last + 1) - 1
        return used_vertices(self.pairs, last) == all_vertices and len(self.pairs) <= MAX_EDGES


def parse(adjacency: str, names: Sequence[str]) -> Graph:
    """A cell from its matrix, 0 and 1 row by row, and the names of its vertices.

    Raises:
        UsageError: it is not of the space, or has vertices on no path from input to output.
    """
    size = math.isqrt(len(adjacency))
    if not 2 <= size <= MAX_VERTICES or size**2 != len(adjacency) or set(adjacency) - {"0", "1"}:
        raise UsageError(
            f"adjacency '{adjacency[:60]}' must be the 0 and 1 of a square matrix of 2 to 7 rows"
        )
    if len(names) != size or (names[0], names[-1]) != ("input", "output"):
        raise UsageError(
            f"operations '{' '.join(names)[:120]}' must be {size} names, input first, output last"
        )
    for name in names[1:-1]:
        if name not in OPERATIONS:
            raise UsageError(f"there is no operation '{name}'; {closest(name, OPERATIONS)}")
    ones = {divmod(i, size) for i, digit in enumerate(adjacency) if digit == "1"}
    pairs = tuple(pair for pair in PAIRS if pair in ones)
    graph = Graph(tuple(OPERATIONS.index(name) for name in names[1:-1]), pairs)
    if len(pairs) < len(ones) or not graph.fits:
        raise UsageError(
            f"adjacency '{adjacency}' must have at most {MAX_EDGES} ones, all above the diagonal, "
            "and each vertex on a path from input to output"
        )
    return graph


def condensed(
    graphs: Sequence[Graph], hashes: Sequence[str], columns: Mapping[str, np.ndarray]
) -> Arrays:
    """The arrays of a table of these cells, whose rows it sorts by their hashes."""
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
    has_copies = False
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
        return {"cifar10": Columns(validation_R, test_R, arrays.get("train_seconds"))}

    def row(self, genotype: Genotype) -> int:
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
        graph = self.graph(row)
        nodes = ("input", *(OPERATIONS[i] for i in graph.operations), "output")
        edges = tuple(Edge("", *pair) for pair in graph.pairs)
        return Genotype(self.space, (Cell("cell", nodes, edges),))

    def text(self, row: int) -> str:
        cell = self.genotype(row).cell("cell")
        size, found = len(cell.nodes), {edge[1:] for edge in cell.edges}
        digits = "".join(str(int(divmod(i, size) in found)) for i in range(size**2))
        return f"{digits},{' '.join(cell.nodes)}"

    def graph(self, row: int) -> Graph:
        bits, num_interior = int(self._bits_R[row]), int(self._num_R[row]) - 2
        pairs = tuple(pair for i, pair in enumerate(PAIRS) if bits >> i & 1)
        return Graph(tuple(self._ops_R5[row, :num_interior].tolist()), pairs)

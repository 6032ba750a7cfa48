"""State the facts of a NAS-Bench-101 cell: its graph, its text, its widths and its cost.

The edges that count and a list of all graphs are here as well. No torch at import time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.nasbench101_hash import Pairs, cell_hash, used_vertices

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES, MAX_EDGES = 7, 9
PAIRS = tuple((x, y) for y in range(1, MAX_VERTICES) for x in range(y))  # where an edge may be
NUM_STACKS = 3


class Graph(NamedTuple):
    """A cell by the positions of its operations in `OPERATIONS`, and its edges."""

    operations: tuple[int, ...]  # of the vertices between input and output
    pairs: Pairs

    @property
    def hash(self) -> str:
        return cell_hash(self.operations, self.pairs)

    @property
    def fits(self) -> bool:
        """Return whether the space has this graph.

        All vertices must lie on paths from input to output, and the edges be few enough.
        """
        last = len(self.operations) + 1
        all_vertices = (1 << last + 1) - 1
        return used_vertices(self.pairs, last) == all_vertices and len(self.pairs) <= MAX_EDGES

    @property
    def genotype(self) -> Genotype:
        nodes = ("input", *(OPERATIONS[i] for i in self.operations), "output")
        edges = tuple(Edge("", *pair) for pair in self.pairs)
        return Genotype("nasbench101", (Cell("cell", nodes, edges),))


def parse(adjacency: str, names: Sequence[str]) -> Graph:
    """Read a cell from its matrix, 0 and 1 row by row, and the names of its vertices.

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


def from_matrix(matrix: object, names: object) -> Genotype:
    """Read a genotype from an adjacency matrix and the names of its vertices.

    They are as the official code has them; vertices may be on no path from input to output.

    Raises:
        UsageError: the matrix is not square, not above the diagonal, or not as long as the names.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError("the operations of a NAS-Bench-101 cell are a list of names")
    size = len(names)
    if (
        not isinstance(matrix, list)
        or len(matrix) != size
        or not all(isinstance(row, list) and len(row) == size for row in matrix)
        or not all(isinstance(one, int | float) and one in (0, 1) for row in matrix for one in row)
    ):
        raise UsageError(
            f"the matrix of a NAS-Bench-101 cell with {size} operations has {size} rows of {size} "
            "numbers, each 0 or 1"
        )
    edges = tuple(
        Edge("", source, target)
        for target, source in itertools.product(range(size), repeat=2)
        if matrix[source][target]
    )
    return Genotype("nasbench101", (Cell("cell", tuple(names), edges),))


def nasbench101_text(genotype: Genotype) -> str:
    """Write what `parse` reads: the matrix, a comma, the vertices' names with spaces between."""
    cell = genotype.cell("cell")
    size, found = len(cell.nodes), {edge[1:] for edge in cell.edges}
    digits = "".join(str(int(divmod(i, size) in found)) for i in range(size**2))
    return f"{digits},{' '.join(cell.nodes)}"


def used_edges(cell: Cell) -> list[Edge]:
    """List the edges that lie on a path from the first to the last vertex."""
    used = used_vertices([edge[1:] for edge in cell.edges], len(cell.nodes) - 1)
    return [edge for edge in cell.edges if used >> edge.source & used >> edge.target & 1]


def unlabelled_cells() -> Iterator[Pairs]:
    """Yield every cell without its operations, at least once.

    Interior vertices are ordered by their depth and come first among the 7.
    """
    for num_interior in range(MAX_VERTICES - 1):
        feeders = [subsets(range(vertex), 1) for vertex in range(1, num_interior + 1)]
        for sources in itertools.product(*map(list, feeders)):
            depths = [0]
            for group in sources:
                depths.append(1 + max(depths[source] for source in group))
            if depths != sorted(depths):
                continue
            pairs = [(s, t) for t, group in enumerate(sources, start=1) for s in group]
            ends = set(range(num_interior + 1)) - {source for source, _ in pairs}
            others = sorted(set(range(num_interior + 1)) - ends)
            for more in subsets(others, 0):
                to_output = [(source, MAX_VERTICES - 1) for source in sorted(ends.union(more))]
                if len(pairs) + len(to_output) <= MAX_EDGES:
                    yield (*pairs, *to_output)


def subsets(vertices: Iterable[int], smallest: int) -> Iterator[tuple[int, ...]]:
    """Yield all subsets with at least `smallest` members, the small ones first."""
    members = tuple(vertices)
    sizes = range(smallest, len(members) + 1)
    return itertools.chain.from_iterable(itertools.combinations(members, n) for n in sizes)


def vertex_widths(cell: Cell, channels_in: int, channels: int) -> list[int]:
    """Return the number of output channels of each vertex of a pruned cell.

    The vertices that feed the output share its channels as evenly as possible, the first ones
    getting the remainder; any other has as many as the widest vertex that it feeds.
    """
    last = len(cell.nodes) - 1
    widths = [channels_in, *([0] * (last - 1)), channels]
    feeding = sorted(edge.source for edge in cell.edges_into(last) if edge.source > 0)
    for position, vertex in enumerate(feeding):
        widths[vertex] = channels // len(feeding) + (position < channels % len(feeding))
    for vertex in reversed(range(1, last)):
        if vertex not in feeding:
            widths[vertex] = max(widths[e.target] for e in cell.edges if e.source == vertex)
    return widths


def cell_costs(cell: Cell, channels_in: int, channels: int) -> tuple[int, int]:
    """Count the weights of a cell's convolutions, and the channels of its batch norms."""
    widths = vertex_widths(cell, channels_in, channels)
    projected = sum(widths[edge.target] for edge in cell.edges if edge.source == 0)
    kernels, norms = channels_in * projected, projected
    for operation, width in zip(cell.nodes[1:-1], widths[1:-1], strict=True):
        if operation != "maxpool3x3":
            kernels += width**2 * (9 if operation == "conv3x3-bn-relu" else 1)
            norms += width
    return kernels, norms

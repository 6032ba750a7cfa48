"""Define the space of NAS-Bench-101: one cell, 423,624 architectures.

Source: Ying et al., ICML 2019, arXiv 1902.09635.

A cell is a directed acyclic graph of at most 7 vertices, input and output among them, and at most
9 edges; each vertex between them carries one of three operations. Vertices that lie on no path
from input to output are no part of the network, and their edges do not count.

A genotype is written with up to 7 vertices. The genes are those of 7: a bit for each pair x < y,
at x + y * (y - 1) / 2 (columns of the upper triangle), then the operations of vertices 1 to 5.
No torch at import time. Shapes: D = 26 genes, V vertices.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Interval

from nasrun.errors import UsageError, require
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.nasbench101 import (
    MAX_EDGES,
    MAX_VERTICES,
    NUM_STACKS,
    OPERATIONS,
    PAIRS,
    cell_costs,
    unlabelled_cells,
    used_edges,
)
from nasrun.genotypes.nasbench101_hash import Pairs, cell_hash, graph_hash, used_vertices
from nasrun.protocols.settings import Cells
from nasrun.protocols.space import ArchGraph
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize

NUM_MATRICES = 1_538_083  # matrices of 7 vertices that hold a valid cell
NUM_CROSSOVERS = 20  # tries until the child is a copy of the first parent


class NasBench101(IntegerCodedSpace):
    """The cells of NAS-Bench-101.

    Args:
        channels: width of the stem and of the first stack, which doubles twice; at least one
            for each vertex that can feed the output.
        cells: cells per stack.
    """

    name = "nasbench101"
    counts_by_formula = True
    cardinalities = (2,) * len(PAIRS) + (len(OPERATIONS),) * (MAX_VERTICES - 2)

    def __init__(self, *, channels: Annotated[int, Interval(ge=5, le=4_096)], cells: Cells) -> None:
        self.channels, self.cells = channels, cells

    # ------------------------------------------------------------------------ genotypes

    def validate(self, genotype: Genotype) -> None:
        self._validate_cells(genotype, ("cell",))
        cell = genotype.cell("cell")
        if not (
            2 <= len(cell.nodes) <= MAX_VERTICES
            and (cell.nodes[0], cell.nodes[-1]) == ("input", "output")
        ):
            raise UsageError(
                f"a nasbench101 cell has 2 to {MAX_VERTICES} vertices, 'input' first and 'output' "
                f"last, not {', '.join(cell.nodes) or 'none'}"
            )
        for operation in cell.nodes[1:-1]:
            self._validate_operation(operation, cell, OPERATIONS)
        pairs = {(edge.source, edge.target) for edge in cell.edges}
        if len(pairs) < len(cell.edges) or any(edge.operation for edge in cell.edges):
            raise UsageError("the edges of a nasbench101 cell bear no operation, and differ")
        num_edges = len(used_edges(cell))
        if not 1 <= num_edges <= MAX_EDGES:
            raise UsageError(
                f"a nasbench101 cell has 1 to {MAX_EDGES} edges on paths from input to output, "
                f"and this one has {num_edges}"
            )

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the genes; a cell of fewer vertices gets unconnected ones before its output."""
        self.validate(genotype)
        cell = genotype.cell("cell")
        last = len(cell.nodes) - 1
        found = {(s, MAX_VERTICES - 1 if t == last else t) for _, s, t in cell.edges}
        operations = [OPERATIONS.index(name) for name in cell.nodes[1:-1]]
        operations += [0] * (MAX_VERTICES - len(cell.nodes))
        return (*(int(pair in found) for pair in PAIRS), *operations)

    def decode(self, genes: Sequence[int]) -> Genotype:
        """Return the genotype of 7 vertices; not every one is valid."""
        edges = tuple(Edge("", *pair) for pair, bit in zip(PAIRS, genes, strict=False) if bit)
        operations = (OPERATIONS[gene] for gene in genes[len(PAIRS) :])
        return Genotype(self.name, (Cell("cell", ("input", *operations, "output"), edges),))

    def pruned(self, genotype: Genotype) -> Genotype:
        """Drop the vertices and edges that lie on no path; the network stays the same."""
        self.validate(genotype)
        cell = genotype.cell("cell")
        used = used_edges(cell)
        vertices = sorted({vertex for edge in used for vertex in edge[1:]})
        edges = tuple(Edge("", vertices.index(s), vertices.index(t)) for _, s, t in used)
        names = tuple(cell.nodes[vertex] for vertex in vertices)
        return Genotype(self.name, (Cell("cell", names, edges),))

    def canonical(self, genotype: Genotype) -> str:
        """Return the benchmark's graph hash of the pruned cell, 32 hexadecimal digits."""
        self.validate(genotype)
        cell = genotype.cell("cell")
        operations = [OPERATIONS.index(name) for name in cell.nodes[1:-1]]
        return cell_hash(operations, tuple((edge.source, edge.target) for edge in cell.edges))

    # ------------------------------------------------------------------------ search operators

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Draw a cell, nearly uniformly.

        Cells whose shape has symmetries come a little more often. The benchmark's own sampler draws
        matrices and prunes them, which favours small cells.
        """
        shapes, cumulative_M = unlabelled_shapes()
        shape = shapes[int(np.searchsorted(cumulative_M, rng.random(), side="right"))]
        operations = rng.integers(0, len(OPERATIONS), size=MAX_VERTICES - 2)
        return self.decode([*(int(pair in shape) for pair in PAIRS), *operations.tolist()])

    def allows(self, genes: Sequence[int]) -> bool:
        """Return whether 1 to 9 of the edges lie on a path from input to output."""
        pairs = [pair for pair, bit in zip(PAIRS, genes, strict=False) if bit]
        used = used_vertices(pairs, MAX_VERTICES - 1)
        return 1 <= sum(used >> s & used >> t & 1 for s, t in pairs) <= MAX_EDGES

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """Take each row of the matrix and each operation from either parent.

        A row holds the edges that leave a vertex. All is drawn again where the cell is not valid.
        """
        parents = np.array([self.encode(first), self.encode(second)])
        rows = np.array([source for source, _ in PAIRS])
        for _ in range(NUM_CROSSOVERS):
            which_rows = rng.integers(0, 2, size=MAX_VERTICES - 1)
            which_operations = rng.integers(0, 2, size=MAX_VERTICES - 2)
            which_D = np.concatenate([which_rows[rows], which_operations])
            child = parents[which_D, np.arange(len(which_D))].tolist()
            if self.allows(child):
                return self.decode(child)
        return self.decode(parents[0].tolist())

    def edge_moves(self, genotype: Genotype) -> list[Genotype]:
        """List all valid genotypes with one edge in another place.

        A cell of 9 edges, which may not get a tenth, has no other way to change its wiring and keep
        its size.
        """
        genes = self.encode(genotype)
        present = [i for i in range(len(PAIRS)) if genes[i]]
        absent = [i for i in range(len(PAIRS)) if not genes[i]]
        moves = []
        for removed, added in itertools.product(present, absent):
            moved = list(genes)
            moved[removed], moved[added] = 0, 1
            moves.append(moved)
        return [self.decode(moved) for moved in moves if self.allows(moved)]

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        """Return the genotype at a point of the unit cube.

        Where it is not valid, an edge joins input and output, then the edges with the smallest
        coordinates go until no more than 9 are used.
        """
        genes = list(self.genes_at(vector_D))
        weakest = np.argsort(vector_D[: len(PAIRS)], kind="stable").tolist()
        straight = PAIRS.index((0, MAX_VERTICES - 1))
        while not self.allows(genes):
            if genes[straight]:
                genes[weakest.pop(0)] = 0
            genes[straight] = 1
        return self.decode(genes)

    def size(self) -> int:
        """Count the genotypes of 7 vertices, isomorphic ones apart.

        There are 423,624 different cells.
        """
        return NUM_MATRICES * len(OPERATIONS) ** (MAX_VERTICES - 2)

    def graph(self, genotype: Genotype) -> ArchGraph:
        """Return the pruned cell itself."""
        cell = self.pruned(genotype).cell("cell")
        adjacency_VV = np.zeros((len(cell.nodes), len(cell.nodes)), dtype=np.uint8)
        for edge in cell.edges:
            adjacency_VV[edge.source, edge.target] = 1
        return ArchGraph(cell.nodes, adjacency_VV)

    # ------------------------------------------------------------------------ networks

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network of the benchmark.

        It has no auxiliary head, whatever `size` asks for.
        """
        from nasrun.networks.nasbench101 import NasBench101Network

        if size.stem == "imagenet":
            raise UsageError(
                f"retrain.stem={size.stem} is not possible: space=nasbench101 has one stem, "
                "type retrain.stem=cifar"
            )
        channels, cells = self._size(size)
        cell = self.pruned(genotype).cell("cell")
        return NasBench101Network(cell, shape, channels=channels, cells=cells)

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the parameters and multiply-adds of one input without building the network.

        The trainable parameters equal the table's. Batch norm, pooling, sums and biases count no
        multiply-adds.
        """
        channels, cells = self._size(size)
        cell = self.pruned(genotype).cell("cell")
        height, width = shape.size
        parameters = channels * (9 * shape.channels + 2)
        flops = channels * 9 * shape.channels * height * width
        channels_in = channels
        for stack in range(NUM_STACKS):
            if stack > 0:
                channels, height, width = 2 * channels, -(-height // 2), -(-width // 2)
            for _ in range(cells):
                kernels, norms = cell_costs(cell, channels_in, channels)
                parameters += kernels + 2 * norms
                flops += kernels * height * width
                channels_in = channels
        classifier = channels_in * shape.num_classes
        return parameters + classifier + shape.num_classes, flops + classifier

    def _size(self, size: NetworkSize) -> tuple[int, int]:
        channels = self.channels if size.channels is None else size.channels
        cells = self.cells if size.cells is None else size.cells
        _check_size(channels)
        return channels, cells


@cache  # takes a second
def unlabelled_shapes() -> tuple[tuple[Pairs, ...], np.ndarray]:
    """List each cell without its operations once, and how many cells each stands for.

    The counts are shares of all cells, cumulated; the last one is 1.
    """
    shapes = {graph_hash((0,) * MAX_VERTICES, pairs): pairs for pairs in unlabelled_cells()}
    num_interior_M = [len({target for _, target in pairs}) - 1 for pairs in shapes.values()]
    # So many cells share a shape: each vertex inside has any of the operations. Symmetries, by
    # which two of them are the same cell, are not taken off.
    labellings_M = float(len(OPERATIONS)) ** np.array(num_interior_M)
    cumulative_M = np.cumsum(labellings_M)
    return tuple(shapes.values()), cumulative_M / cumulative_M[-1]


def _check_size(channels: int) -> None:
    smallest = MAX_VERTICES - 2
    allowed = f"at least {smallest}, one for each vertex that can feed the output"
    require(channels >= smallest, "space.channels", channels, allowed)

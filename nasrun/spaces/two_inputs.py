"""Define spaces of the cells of DARTS: two inputs, four nodes, two operations on each node.

A network is a stack of two kinds of cells, `normal` and `reduce` (stride 2). A cell has two inputs
(the outputs of the two cells before it) and four nodes; each node adds up two operations on two
different earlier states, and the nodes together are the cell's output. During the search all 14
edges mix all operations. Which operations there are, and what they read, is a subclass's business.
No torch at import time. Shapes: E = 14 edges, O operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from nasrun.errors import UsageError, closest, require
from nasrun.genotypes.darts import CELLS, EDGES, NODES, OUTPUT, STATES, darts_genotype
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.pairs import require_output
from nasrun.protocols.settings import Cells, Channels, Divides
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import MixingWeights, Network, NetworkSize, Supernet

INPUT_PAIRS = {node: tuple(itertools.combinations(range(node), 2)) for node in NODES}


class TwoInputsSpace(IntegerCodedSpace):
    """Cells of DARTS. The genes of a node are its pair of inputs, and the operation on each.

    A subclass has `name`, `known_operations` and, but for images, `takes`.

    Args:
        channels, cells: width of the first cell and number of cells, of supernet and network alike
            where nothing else is asked for.
        partial_channels: k of PC-DARTS (arXiv 1907.05737): 1/k of the channels go through the
            operations of the supernet, the others bypass them; 1 is off.
        stem: "cifar", or for large inputs "imagenet", where nothing else is asked for.
        operations: names from `known_operations`; with `none` a search can weaken an edge, and
            derives no genotype that has it.

    Raises:
        UsageError: an unknown operation, one named twice, or `none` alone.
    """

    differentiable: ClassVar[bool] = True
    known_operations: ClassVar[tuple[str, ...]]
    edges = EDGES
    edges_per_node = 2

    def __init__(
        self,
        *,
        channels: Channels,
        cells: Cells,
        partial_channels: Annotated[Channels, Divides("channels")],
        stem: Literal["cifar", "imagenet"],
        operations: list[str],
    ) -> None:
        for operation in operations:
            if operation not in self.known_operations:
                hint = closest(operation, self.known_operations)
                raise UsageError(f"space.operations has the unknown name '{operation}'; {hint}")
        self.operations = tuple(operations)
        self.choices = tuple(name for name in operations if name != "none")
        distinct = len(set(operations)) == len(operations) and len(self.choices) > 0
        require(distinct, "space.operations", operations, "different names, not only none")
        self.channels, self.cells, self.partial_channels = channels, cells, partial_channels
        self.stem: Literal["cifar", "imagenet"] = stem
        self.alpha_shapes: Mapping[str, tuple[int, int]] = dict.fromkeys(
            CELLS, (len(EDGES), len(operations))
        )
        # `none` is no choice of a genotype: both edges of a node carry an operation.
        genes_of_node = ((len(INPUT_PAIRS[n]), len(self.choices), len(self.choices)) for n in NODES)
        self.cardinalities = tuple(itertools.chain(*genes_of_node)) * len(CELLS)

    # ------------------------------------------------------------------ genotypes

    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless each node has two edges from different sources.

        Any concat of nodes will do. All known operations are allowed, whatever those of the search
        are, and so is `none`: published cells have it, and it leaves the edge out of the network.
        """
        self._validate_cells(genotype, CELLS)
        for cell in genotype.cells:
            if len(cell.nodes) != len(STATES):
                raise UsageError(
                    f"cell '{cell.name}' has {len(cell.nodes)} nodes: a DARTS cell has 7 "
                    "(two inputs, four computed, one output)"
                )
            for node in NODES:
                sources = {edge.source for edge in cell.edges_into(node)}
                if len(cell.edges_into(node)) != 2 or len(sources) != 2:
                    found = ", ".join(f"{e.source} -> {e.target}" for e in cell.edges_into(node))
                    raise UsageError(
                        f"node {node} of cell '{cell.name}' needs two edges from two different "
                        f"nodes below {node}; it has {found or 'none'}"
                    )
                for edge in cell.edges_into(node):
                    self._validate_operation(edge.operation, cell, self.known_operations)
            if cell.edges_into(1):
                raise UsageError(f"cell '{cell.name}' has an edge 0 -> 1 between its two inputs")
            require_output(cell)

    def canonical(self, genotype: Genotype) -> str:
        """Return the sorted edges of each cell, without `none`, as text.

        The order of the two inputs of a node does not matter.
        """
        self.validate(genotype)
        return "/".join(
            " ".join(
                f"{edge.target}<{edge.source}:{edge.operation}"
                for edge in sorted(cell.edges, key=lambda edge: (edge.target, edge.source))
                if edge.operation != "none"
            )
            for cell in (genotype.cell(name) for name in CELLS)
        )

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return (pair of inputs, operation on the first, operation on the second) per node.

        Raises:
            UsageError: also for an output of other states than 2 to 5 and for `none` on an edge,
                which have no genes.
        """
        self.validate(genotype)
        genes = list[int]()
        for cell in (genotype.cell(name) for name in CELLS):
            if {edge.source for edge in cell.edges_into(OUTPUT)} != set(NODES):
                raise UsageError(
                    f"cell '{cell.name}' leaves a node out of its output: it can be retrained, "
                    "and cannot take part in a search"
                )
            self._require_searched(cell, (*self.choices, "concat"))
            for node in NODES:
                # Either order of the two inputs is the same cell; the genes have the lower source
                # first.
                first, second = sorted(cell.edges_into(node), key=lambda edge: edge.source)
                genes.append(INPUT_PAIRS[node].index((first.source, second.source)))
                genes += [self.choices.index(edge.operation) for edge in (first, second)]
        return tuple(genes)

    def decode(self, genes: Sequence[int]) -> Genotype:
        pairs: dict[str, list[tuple[str, int]]] = {name: [] for name in CELLS}
        remaining = iter(genes)
        for name, node in itertools.product(CELLS, NODES):
            for source in INPUT_PAIRS[node][next(remaining)]:
                # The genes of a node are (pair, first, second): the pair was taken just now.
                pairs[name].append((self.choices[next(remaining)], source))
        return darts_genotype(pairs, space=self.name)

    # ------------------------------------------------------------------ relaxation

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        """Keep for each node the two edges with the strongest operations.

        An edge counts as much as its strongest operation, `none` left aside. `gates` (cell type ->
        gates_E) multiply the weights, as in PC-DARTS. Of equal candidates the one with the lowest
        index is taken. Source: section 2.4 of the paper.
        """
        pairs: dict[str, list[tuple[str, int]]] = {name: [] for name in CELLS}
        for name in CELLS:
            best = self._best_per_edge(weights[name], None if gates is None else gates[name])
            for node in NODES:
                # `sorted` is stable: the lower source comes first among equals.
                ranked = sorted(range(node), key=lambda source: -best[source, node][0])
                pairs[name] += [(best[source, node][1], source) for source in sorted(ranked[:2])]
        return darts_genotype(pairs, space=self.name)

    def _best_per_edge(
        self, weights_EO: Tensor, gates_E: Tensor | None
    ) -> dict[tuple[int, int], tuple[float, str]]:
        """Map each edge to the weight and the name of its strongest operation."""
        if gates_E is not None:
            weights_EO = weights_EO * gates_E[:, None]
        columns = [self.operations.index(name) for name in self.choices]
        # torch's `max` returns the first among equals.
        strongest_E, index_E = weights_EO.detach()[:, columns].max(dim=1)
        names = (self.choices[index] for index in index_E.tolist())
        return dict(zip(EDGES, zip(strongest_E.tolist(), names, strict=True), strict=True))

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return weights_EO, float32: 1 for the operation of each edge of the genotype, else 0."""
        import torch

        self.encode(genotype)  # refuses what the supernet cannot express
        weights = {name: torch.zeros(shape) for name, shape in self.alpha_shapes.items()}
        for name in CELLS:
            for edge in _computed_edges(genotype.cell(name)):
                # a genotype has 8 of the 14 edges of a cell; the rows of the others stay zero
                row = EDGES.index((edge.source, edge.target))
                weights[name][row, self.operations.index(edge.operation)] = 1.0
        return weights

    def one_hot_gates(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return gates_E, float32: 1 for the edges that the genotype has, else 0."""
        return {name: rows_EO.sum(1) for name, rows_EO in self.one_hot(genotype).items()}

    # ------------------------------------------------------------------ networks

    def supernet(
        self,
        shape: TaskShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        partial_channels: int | None = None,
        active: Mapping[str, Tensor] | None = None,
        skip_dropout: float = 0.0,
    ) -> Supernet:
        channels = self.channels if channels is None else channels
        cells = self.cells if cells is None else cells
        partial_channels = self.partial_channels if partial_channels is None else partial_channels
        _check_size(channels, partial_channels)
        from nasrun.networks.blocks.layers import BY_KIND
        from nasrun.networks.darts.supernet import DartsSupernet

        return DartsSupernet(
            shape,
            self.operations,
            channels=channels,
            cells=cells,
            partial_channels=partial_channels,
            stem=self.stem,
            active=active,
            skip_dropout=skip_dropout,
            layers=BY_KIND[self.takes[0]],
        )

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        from nasrun.networks.blocks.layers import BY_KIND
        from nasrun.networks.darts.derived import DartsNetwork

        self.validate(genotype)
        return DartsNetwork(
            genotype,
            shape,
            channels=self.channels if size.channels is None else size.channels,
            cells=self.cells if size.cells is None else size.cells,
            auxiliary=size.auxiliary,
            stem=size.stem or self.stem,
            layers=BY_KIND[self.takes[0]],
        )


def _computed_edges(cell: Cell) -> list[Edge]:
    return [edge for edge in cell.edges if edge.target in NODES]


def _check_size(channels: int, partial_channels: int) -> None:
    if channels % partial_channels:
        fitting = channels + partial_channels - channels % partial_channels
        raise UsageError(
            f"space.channels={channels} cannot be divided by space.partial_channels="
            f"{partial_channels}: type space.channels={fitting}, or space.partial_channels=1 "
            "to switch partial channels off"
        )

"""Define the space of NASNet, as AmoebaNet-A was found in it.

Sources: Zoph, Vasudevan, Shlens, Le, CVPR 2018, arXiv 1707.07012; Real, Aggarwal, Huang, Le, AAAI
2019, arXiv 1802.01548.

A network is a stack of two kinds of cells, `normal` and `reduce` (stride 2). A cell has two inputs
(the outputs of the two cells before it) and five nodes; each node adds up two operations, each on
any earlier state, and the nodes that no other one reads are the cell's output. There is no
supernet: the space is for searches that train what they compare. No torch at import time.

Deviations:
- The operations are the eight of Real et al.; NASNet has thirteen.
- Stem, stack and operations are those of the public code of DARTS, which retrains both published
  cells with them. In it the output of a cell before a reduction is halved by a factorised
  reduction, and so is a skip connection.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nasrun.errors import UsageError
from nasrun.genotypes.darts import CELLS
from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.genotypes.nasnet import NODES, NUM_NODES, OPERATIONS, nasnet_genotype
from nasrun.genotypes.pairs import output_of, require_output, state_names, unread
from nasrun.protocols.settings import Cells, Channels
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize


class NASNet(IntegerCodedSpace):
    """The NASNet cells. The genes of a node are (operation, input), twice.

    Args:
        channels, cells: width of the first cell and number of cells, where nothing else is asked
            for.
        stem: "cifar", or for large images "imagenet", where nothing else is asked for.
    """

    name = "nasnet"

    def __init__(
        self, *, channels: Channels, cells: Cells, stem: Literal["cifar", "imagenet"]
    ) -> None:
        self.channels, self.cells = channels, cells
        self.stem: Literal["cifar", "imagenet"] = stem
        genes_of_node = ((len(OPERATIONS), node) * 2 for node in NODES)
        self.cardinalities = tuple(itertools.chain(*genes_of_node)) * len(CELLS)

    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless each node has two edges; any concat of nodes will do."""
        self._validate_cells(genotype, CELLS)
        for cell in genotype.cells:
            if len(cell.nodes) != len(state_names(NUM_NODES)):
                raise UsageError(
                    f"cell '{cell.name}' has {len(cell.nodes)} nodes: a NASNet cell has 8 "
                    "(two inputs, five computed, one output)"
                )
            if cell.edges_into(1):
                raise UsageError(f"cell '{cell.name}' has an edge 0 -> 1 between its two inputs")
            for node in NODES:
                edges = cell.edges_into(node)
                if len(edges) != 2:
                    raise UsageError(
                        f"node {node} of cell '{cell.name}' needs two edges; it has {len(edges)}"
                    )
                for edge in edges:
                    self._validate_operation(edge.operation, cell, OPERATIONS)
            require_output(cell)

    def canonical(self, genotype: Genotype) -> str:
        """Return the sorted edges of each cell as text.

        The order of the two operations of a node does not matter.
        """
        self.validate(genotype)
        return "/".join(
            " ".join(
                f"{edge.target}<{edge.source}:{edge.operation}"
                for edge in sorted(cell.edges, key=lambda e: (e.target, e.source, e.operation))
            )
            for cell in (genotype.cell(name) for name in CELLS)
        )

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return (operation, input) of both edges of each node.

        Raises:
            UsageError: also for an output of other nodes than those that no other one reads.
        """
        self.validate(genotype)
        genes = list[int]()
        for cell in (genotype.cell(name) for name in CELLS):
            _require_own_output(cell)
            for edge in itertools.chain(*map(cell.edges_into, NODES)):
                genes += [OPERATIONS.index(edge.operation), edge.source]
        return tuple(genes)

    def decode(self, genes: Sequence[int]) -> Genotype:
        remaining = iter(genes)
        pairs = [(OPERATIONS[gene], source) for gene, source in zip(remaining, remaining)]  # noqa: B905
        half = len(pairs) // 2
        return nasnet_genotype(dict(zip(CELLS, (pairs[:half], pairs[half:]), strict=True)))

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        from nasrun.networks.darts.derived import DartsNetwork

        self.validate(genotype)
        return DartsNetwork(
            genotype,
            shape,
            channels=self.channels if size.channels is None else size.channels,
            cells=self.cells if size.cells is None else size.cells,
            auxiliary=size.auxiliary,
            stem=size.stem or self.stem,
        )


def _require_own_output(cell: Cell) -> None:
    sources = sorted(edge.source for edge in cell.edges_into(output_of(cell)))
    own = unread(cell.edges, NODES)
    if sources != own:
        raise UsageError(
            f"the output of cell '{cell.name}' is {sources}, and the nodes that no other one reads "
            f"are {own}: it can be retrained, and cannot take part in a search"
        )

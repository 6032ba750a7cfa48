"""Define spaces of one cell whose edges are fixed, and whose genes are the operations on them.

NAS-Bench-201 is the model. No torch at import time. Shapes: E edges, O operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.space import MixingWeights


class FixedEdgesSpace(IntegerCodedSpace):
    """A space of one cell, named "cell".

    A subclass sets the three attributes, and becomes a `DifferentiableSpace` by adding `canonical`,
    `network` and `supernet`.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]  # (source, target), in the order of the genes
    operations: tuple[str, ...]
    known_operations: tuple[str, ...] = ()
    """What a genotype that is not searched for may have besides `operations`."""
    edges_per_node: int | None = None
    differentiable: ClassVar[bool] = True

    def __init__(self) -> None:
        self.cardinalities = (len(self.operations),) * len(self.edges)
        self.alpha_shapes: Mapping[str, tuple[int, int]] = {
            "cell": (len(self.edges), len(self.operations))
        }

    def validate(self, genotype: Genotype) -> None:
        self._validate_cells(genotype, ("cell",))
        cell = genotype.cell("cell")
        found = sorted((edge.source, edge.target) for edge in cell.edges)
        if len(cell.nodes) != len(self.nodes) or found != sorted(self.edges):
            raise UsageError(
                f"a {self.name} cell has {len(self.nodes)} nodes and the edges {self.edges}; "
                f"this one has {len(cell.nodes)} nodes and the edges {found}"
            )
        for edge in cell.edges:
            self._validate_operation(
                edge.operation, cell, {*self.operations, *self.known_operations}
            )

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        self.validate(genotype)
        self._require_searched(genotype.cell("cell"), self.operations)
        found = {(e.source, e.target): e.operation for e in genotype.cell("cell").edges}
        return tuple(self.operations.index(found[edge]) for edge in self.edges)

    def decode(self, genes: Sequence[int]) -> Genotype:
        edges = (
            Edge(self.operations[gene], *edge) for gene, edge in zip(genes, self.edges, strict=True)
        )
        return Genotype(self.name, (Cell("cell", self.nodes, tuple(edges)),))

    def discretise(
        self, weights: MixingWeights, gates: Mapping[str, Tensor] | None = None
    ) -> Genotype:
        """Keep the strongest operation of each edge, `none` included, the first among equals.

        Positive `gates` scale all operations of an edge alike and change nothing.
        """
        return self.decode(weights["cell"].detach().argmax(dim=1).tolist())

    def one_hot(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return weights_EO, float32: 1 for the operation of each edge, else 0."""
        import torch

        weights_EO = torch.zeros(self.alpha_shapes["cell"])
        weights_EO[torch.arange(len(self.edges)), list(self.encode(genotype))] = 1.0
        return {"cell": weights_EO}

    def one_hot_gates(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return gates_E, float32: 0 where the operation is `none`, else 1."""
        import torch

        names = [self.operations[gene] for gene in self.encode(genotype)]
        return {"cell": torch.tensor([float(name != "none") for name in names])}

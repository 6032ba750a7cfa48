"""Give every space what follows from writing its genotypes as integer genes.

A subclass says how many values each gene has, how genotypes and genes are translated into each
other, what is valid, what is the same, and which network it is; sampling, mutation, crossover,
neighbours, the vector view, enumeration and the graph follow. No torch at import time.
Shapes: D genes, V graph vertices.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.protocols.space import ArchGraph, SearchSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize

MAX_ENUMERATED = 10**6


class IntegerCodedSpace(SearchSpace, ABC):
    """A space whose genotypes are D integer genes, each in [0, cardinality)."""

    name: str
    cardinalities: tuple[int, ...]

    @abstractmethod
    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the genes of a genotype; raise `UsageError` where it is not of this space."""

    @abstractmethod
    def decode(self, genes: Sequence[int]) -> Genotype:
        """Return the genotype of these genes: the inverse of `encode`."""

    @abstractmethod
    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless the genotype belongs to this space."""

    @abstractmethod
    def canonical(self, genotype: Genotype) -> str:
        """Return a key that is equal for genotypes that compute the same function."""

    @abstractmethod
    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        """Build the network of one genotype, to be trained from scratch."""

    def pruned(self, genotype: Genotype) -> Genotype:
        """Drop the parts of a genotype that do not change its network; here it has none."""
        return genotype

    def allows(self, genes: Sequence[int]) -> bool:
        """Return whether the genes are those of a valid genotype.

        Where not all genes are, a subclass overrides this, and sees to it that `sample`,
        `crossover` and `from_vector` give valid ones.
        """
        return True

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Draw each gene uniformly and independently."""
        return self.decode([int(gene) for gene in rng.integers(self.cardinalities)])

    def mutate(self, parent: Genotype, rng: np.random.Generator) -> Genotype:
        """Change one gene to another of its values.

        The gene is uniform among those that can change; both are drawn again until the genotype is
        valid.
        """
        changeable = [i for i, cardinality in enumerate(self.cardinalities) if cardinality > 1]
        parent_genes = self.encode(parent)
        while True:
            genes = list(parent_genes)
            position = changeable[int(rng.integers(len(changeable)))]
            # a shift by 1 to cardinality - 1 never gives the old value, and all others alike
            shift = int(rng.integers(1, self.cardinalities[position]))
            genes[position] = (genes[position] + shift) % self.cardinalities[position]
            if self.allows(genes):
                return self.decode(genes)

    def crossover(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> Genotype:
        """Take each gene from either parent with equal probability."""
        takes_second = rng.integers(0, 2, size=len(self.cardinalities))
        parents = (self.encode(first), self.encode(second))
        return self.decode([parents[which][i] for i, which in enumerate(takes_second)])

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """List all valid genotypes that differ in one gene, in the order of genes and values."""
        genes = self.encode(genotype)
        changed = (
            [*genes[:position], value, *genes[position + 1 :]]
            for position, cardinality in enumerate(self.cardinalities)
            for value in range(cardinality)
            if value != genes[position]
        )
        return [self.decode(other) for other in changed if self.allows(other)]

    def from_vector(self, vector_D: np.ndarray) -> Genotype:
        """Return the genotype at a point of the unit cube; coordinates outside it are clipped."""
        return self.decode(self.genes_at(vector_D))

    def genes_at(self, vector_D: np.ndarray) -> tuple[int, ...]:
        """Return the genes at a point of the unit cube, each coordinate cut into equal parts."""
        cardinalities_D = np.array(self.cardinalities)
        genes_D = np.floor(np.clip(vector_D, 0.0, 1.0) * cardinalities_D).astype(int)
        # a coordinate of exactly 1 belongs to the last part
        return tuple(np.minimum(genes_D, cardinalities_D - 1).tolist())

    def to_vector(self, genotype: Genotype) -> np.ndarray:
        """Return the middle of the box that `from_vector` maps to the genotype; float64."""
        # the middle, so that a small step in the cube stays with the same gene
        return (np.array(self.encode(genotype)) + 0.5) / np.array(self.cardinalities)

    def size(self) -> int:
        """Count the genotypes, isomorphic ones apart."""
        return math.prod(self.cardinalities)

    def enumerate(self) -> Iterator[Genotype]:
        """Yield all genotypes, the last gene fastest; raise `UsageError` above a million."""
        if self.size() > MAX_ENUMERATED:
            raise UsageError(
                f"space={self.name} has {self.size():.3g} genotypes, and at most "
                f"{MAX_ENUMERATED:,} can be enumerated: choose a strategy that samples"
            )
        return map(self.decode, itertools.product(*map(range, self.cardinalities)))

    def graph(self, genotype: Genotype) -> ArchGraph:
        """Return the graph whose vertices are the operations.

        An edge's operation feeds those on the edges that leave its target. All cells stand side by
        side between one input and one output.

        Edges with `none` are left out. Where a genotype has several cells, labels begin with the
        cell's name; where a cell has several inputs, each of them is a vertex of its own.
        """
        labels, arrows = ["input"], list[tuple[int, int]]()
        outputs = list[int]()
        for cell in genotype.cells:
            prefix = f"{cell.name}:" if len(genotype.cells) > 1 else ""
            outputs += _add_cell(cell, prefix, labels, arrows)
        arrows += [(vertex, len(labels)) for vertex in outputs]
        labels.append("output")
        adjacency_VV = np.zeros((len(labels), len(labels)), dtype=np.uint8)
        for source, target in arrows:
            adjacency_VV[source, target] = 1
        return ArchGraph(tuple(labels), adjacency_VV)

    def params_and_flops(
        self, genotype: Genotype, shape: TaskShape, size: NetworkSize
    ) -> tuple[int, int]:
        """Count the trainable parameters, and the multiply-adds of one input.

        An auxiliary head is left out.
        """
        import torch

        from nasrun.training.costs import measure

        # only shapes are needed: nothing is allocated or computed
        with torch.device("meta"):
            return measure(self.network(genotype, shape, replace(size, auxiliary=False)), shape)

    def _validate_cells(self, genotype: Genotype, names: Sequence[str]) -> None:
        if genotype.space != self.name:
            raise UsageError(
                f"the genotype is of space '{genotype.space}', and space={self.name} was chosen"
            )
        for name in names:
            genotype.cell(name)  # says which cell is missing
        if len(genotype.cells) != len(names):
            found = ", ".join(cell.name for cell in genotype.cells)
            raise UsageError(
                f"a {self.name} genotype has the cells {', '.join(names)}, each once, not {found}"
            )

    def _require_searched(self, cell: Cell, searched: Collection[str]) -> None:
        """Raise a `UsageError` where an edge has an operation without a gene."""
        for edge in cell.edges:
            if edge.operation not in searched:
                raise UsageError(
                    f"cell '{cell.name}' has '{edge.operation}' on an edge: it can be retrained, "
                    "and cannot take part in a search of other operations"
                )

    def _validate_operation(self, name: str, cell: Cell, allowed: Collection[str]) -> None:
        if name not in allowed:
            raise UsageError(
                f"cell '{cell.name}' has the operation '{name}', which space={self.name} lacks; "
                f"{closest(name, allowed)}"
            )


def _add_cell(
    cell: Cell, prefix: str, labels: list[str], arrows: list[tuple[int, int]]
) -> list[int]:
    """Append the vertices and arrows of one cell; return the vertices that form its output."""
    vertices_of = {node: list[int]() for node in range(len(cell.nodes))}  # summed up in each node

    def add(label: str, sources: Sequence[int], node: int) -> None:
        arrows.extend((source, len(labels)) for source in sources)
        vertices_of[node].append(len(labels))
        labels.append(prefix + label)

    inputs = [node for node in vertices_of if not cell.edges_into(node)]
    # Only the inputs of a cell have no incoming edges.
    for node in inputs:
        if len(inputs) > 1:
            add(cell.nodes[node], [0], node)
        else:
            vertices_of[node] = [0]
    for edge in sorted(cell.edges, key=lambda edge: (edge.target, edge.source)):
        if edge.operation == "concat":  # the state itself is part of the output
            vertices_of[edge.target] += vertices_of[edge.source]
        elif edge.operation != "none":
            add(edge.operation, vertices_of[edge.source], edge.target)
    return vertices_of[len(cell.nodes) - 1]

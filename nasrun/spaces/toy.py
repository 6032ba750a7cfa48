"""Define a space so small that its optimum is known; for tests and golden runs.

On the problem that `nasrun.networks.toy` describes the best operations are (d, b, a).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.fixed_edges import FixedEdgesSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.networks.toy import ToyNetwork, ToySupernet


class Toy(FixedEdgesSpace):
    """A chain of three edges: 64 genotypes. It has no size to choose and no batch norm."""

    name = "toy"
    nodes = ("in", "1", "2", "out")
    edges = ((0, 1), (1, 2), (2, 3))
    operations: tuple[str, ...] = ("a", "b", "c", "d")
    takes = ("images", "signals")

    def canonical(self, genotype: Genotype) -> str:
        """Return the operations in the order of the edges; all 64 genotypes differ."""
        return "".join(self.operations[gene] for gene in self.encode(genotype))

    def supernet(
        self,
        shape: TaskShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        partial_channels: int | None = None,
        active: Mapping[str, Tensor] | None = None,
        skip_dropout: float = 0.0,
    ) -> ToySupernet:
        """Build the supernet; only `shape` and `active` matter.

        There is one size, without channels to leave out or skips to drop.
        """
        from nasrun.networks.toy import ToySupernet  # torch

        return ToySupernet(shape, None if active is None else active["cell"])

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> ToyNetwork:
        from nasrun.networks.toy import ToyNetwork  # torch

        return ToyNetwork(self.one_hot(genotype)["cell"], shape)

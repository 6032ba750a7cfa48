"""Define the space of well-known networks, as torchvision builds them.

They are references: `nasrun retrain network=resnet18` trains one by the recipe by which cells are
retrained. A search over the space finds which of them suits the data. No torch at import time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from nasrun.errors import UsageError, closest, require
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.known_networks import CELL, NETWORKS, network_genotype
from nasrun.spaces.integer_coded import IntegerCodedSpace

if TYPE_CHECKING:
    from nasrun.protocols.data import TaskShape
    from nasrun.protocols.space import Network, NetworkSize


class Torchvision(IntegerCodedSpace):
    """The networks by name. There is one gene: which of them it is.

    Args:
        networks: names, of which a search chooses one; any other that is known can be retrained.
        stem: "cifar", or for large images "imagenet", where nothing else is asked for.

    Raises:
        UsageError: an unknown network, one named twice, or a single one.
    """

    name = "torchvision"
    left_aside: ClassVar[tuple[str, ...]] = ("channels", "cells", "auxiliary_weight", "drop_path")

    def __init__(self, *, networks: list[str], stem: Literal["cifar", "imagenet"]) -> None:
        for network in networks:
            if network not in NETWORKS:
                hint = closest(network, NETWORKS)
                raise UsageError(f"space.networks has the unknown name '{network}'; {hint}")
        distinct = len(set(networks)) == len(networks) > 1
        require(distinct, "space.networks", networks, "at least two names, all different")
        self.networks = tuple(networks)
        self.stem: Literal["cifar", "imagenet"] = stem
        self.cardinalities = (len(networks),)

    def validate(self, genotype: Genotype) -> None:
        """Raise `UsageError` unless it names a known network, be it one of `networks` or not."""
        self._validate_cells(genotype, (CELL,))
        cell = genotype.cell(CELL)
        if len(cell.nodes) != 2 or len(cell.edges) != 1:
            raise UsageError(
                f"a {self.name} genotype has two nodes and one edge, whose operation is the name "
                f"of a network; this one has {len(cell.nodes)} and {len(cell.edges)}"
            )
        self._validate_operation(cell.edges[0].operation, cell, NETWORKS)

    def canonical(self, genotype: Genotype) -> str:
        """Return the name of the network."""
        self.validate(genotype)
        return genotype.cell(CELL).edges[0].operation

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Return the position of its name in `networks`.

        Raises:
            UsageError: also for a network that is none of these.
        """
        name = self.canonical(genotype)
        if name not in self.networks:
            raise UsageError(
                f"{name} is not in space.networks: it can be retrained, and cannot take part in a "
                "search"
            )
        return (self.networks.index(name),)

    def decode(self, genes: Sequence[int]) -> Genotype:
        (position,) = genes
        return network_genotype(self.networks[position])

    def network(self, genotype: Genotype, shape: TaskShape, size: NetworkSize) -> Network:
        from nasrun.networks.torchvision import TorchvisionNetwork

        return TorchvisionNetwork(self.canonical(genotype), shape, stem=size.stem or self.stem)

"""Count what a network has: its trainable parameters, and the multiply-adds of one input.

An auxiliary head is left out. A space with a formula answers at once; others build the network
without its data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import COSTS, Cost
from nasrun.protocols.knowledge import FreeScores
from nasrun.protocols.measure import Measure, MeasuredNetworks


class Counted(Measure):
    """A count; a subclass says of what."""

    cost: Cost
    place: int  # in the answer of `params_and_flops`

    def __init__(self, networks: MeasuredNetworks) -> None:
        self.objective, self.quantity = COSTS[self.cost], self.cost
        self.is_quick = networks.space.counts_by_formula
        self.how = "counted"
        self._networks = networks

    def measure(self, genotype: Genotype) -> float:
        space, shape, size = self._networks.space, self._networks.shape, self._networks.size
        return float(space.params_and_flops(genotype, shape, size)[self.place])


class Params(Counted):
    """The trainable parameters."""

    cost, place = "params", 0


class Flops(Counted):
    """The multiply-adds of convolutions and linear layers, of one input."""

    cost, place = "flops", 1


class Sizes(FreeScores):
    """How large networks are: known for nothing, and larger ones are mostly better."""

    names = ("params", "flops")
    how = "parameters and multiply-adds"

    def __init__(self, networks: MeasuredNetworks) -> None:
        self._networks = networks
        # a space without a formula builds each network, in tens of milliseconds
        self.num_affordable = 20_000 if networks.space.counts_by_formula else 200

    def values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        space, shape, size = self._networks.space, self._networks.shape, self._networks.size
        counted = [space.params_and_flops(genotype, shape, size) for genotype in genotypes]
        return np.array(counted, dtype=np.float64).reshape(len(genotypes), 2)


BY_COST: dict[Cost, type[Counted]] = {"params": Params, "flops": Flops}

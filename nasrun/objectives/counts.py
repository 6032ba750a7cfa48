"""Count what a network has: its trainable parameters, and the multiply-adds of one input.

An auxiliary head is left out. A space with a formula answers at once; others build the network
without its data.
"""

from __future__ import annotations

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import COSTS, Cost
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


BY_COST: dict[Cost, type[Counted]] = {"params": Params, "flops": Flops}

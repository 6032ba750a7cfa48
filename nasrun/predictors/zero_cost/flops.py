"""Score by the multiply-adds of one input: with `params` the floor under every other proxy.

Deviations: none.
"""

from __future__ import annotations

from typing import ClassVar

from nasrun.genotypes.genotype import Genotype
from nasrun.predictors.zero_cost.base import Computed
from nasrun.protocols.settings import plugin


@plugin
class Flops(Computed):
    """The multiply-adds of convolutions and linear layers; see `base.Computed`."""

    name: ClassVar[str] = "flops"

    def score(self, genotype: Genotype) -> float:
        return float(self.untrained.counts(genotype)[1])

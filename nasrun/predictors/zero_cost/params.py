"""Score by the number of trainable parameters: the floor under every other proxy.

Deviations: none.
"""

from __future__ import annotations

from typing import ClassVar

from nasrun.genotypes.genotype import Genotype
from nasrun.predictors.zero_cost.base import Computed
from nasrun.protocols.settings import plugin


@plugin
class Params(Computed):
    """The parameters of the network, auxiliary head left out; see `base.Computed`."""

    name: ClassVar[str] = "params"

    def score(self, genotype: Genotype) -> float:
        return float(self.untrained.counts(genotype)[0])

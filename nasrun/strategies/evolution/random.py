"""Random search: the floor under every other method.

J. Bergstra, Y. Bengio. Random Search for Hyper-Parameter Optimization. JMLR 13, 2012. Strong among
architectures: L. Li, A. Talwalkar, UAI 2019, arXiv 1902.07638.

    while there is budget:
        draw an architecture at random and evaluate it
    return the best

Deviations: an architecture that computes what an evaluated one computes is drawn again.
"""

from __future__ import annotations

from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class RandomSearch(DiscreteSearch):
    """The strategy; see the module's docstring.

    Args:
        num_labels: how many architectures are evaluated.
    """

    def step(self) -> StepReport:
        self.labels.evaluate_next(*self.first, most=self.labels.remaining)
        return self.labels.report()

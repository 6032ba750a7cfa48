"""Add what a network costs to its labels, as a further objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.evaluation import COSTS, Cost, Evaluation, Evaluator
from nasrun.protocols.space import SearchSpace
from nasrun.protocols.wrappers import WrappedEvaluator


class NetworkCost(WrappedEvaluator):
    """An evaluator whose labels have the cost of the network as their last objective.

    Args:
        shape: of the images that the network classifies.
    """

    def __init__(self, inner: Evaluator, cost: Cost, space: SearchSpace, shape: TaskShape) -> None:
        super().__init__(inner)
        self.objectives = (*inner.objectives, COSTS[cost])
        self._cost, self._space, self._shape = cost, space, shape

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return [self._with_cost(label) for label in self.inner.evaluate(genotypes)]

    def _with_cost(self, label: Evaluation) -> Evaluation:
        if label.error is not None:  # a network that cannot be trained is worth nothing
            return replace(label, values=(*label.values, COSTS[self._cost].worst))
        params, flops = self._space.params_and_flops(label.genotype, self._shape, self.size)
        return replace(
            label, values=(*label.values, float({"params": params, "flops": flops}[self._cost]))
        )

"""Add what a network costs to its labels, as a further objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.measure import Measure
from nasrun.protocols.wrappers import WrappedEvaluator


class NetworkCost(WrappedEvaluator):
    """An evaluator whose labels have the cost of the network as their last objective."""

    def __init__(self, inner: Evaluator, measure: Measure) -> None:
        super().__init__(inner)
        self.objectives = (*inner.objectives, measure.objective)
        self._measure = measure

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        return [self._with_cost(label) for label in self.inner.evaluate(genotypes)]

    def _with_cost(self, label: Evaluation) -> Evaluation:
        if label.error is not None:  # a network that cannot be trained is worth nothing
            return replace(label, values=(*label.values, self._measure.objective.worst))
        return replace(label, values=(*label.values, self._measure.measure(label.genotype)))

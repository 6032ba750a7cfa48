"""Know a cost from few measurements: the rest is predicted from how often each operation occurs.

Ridge regression on the counts of operations, standardised. From 20 random cells of NAS-Bench-201
its Spearman correlation with the measured latency is .99 on a Xeon and .87 on a phone;
multiply-adds alone have .89 and .86 (docs/results/limits.md).

Shapes: N measured architectures, D kinds of operations.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.roster import Roster
from nasrun.protocols.measure import Measure
from nasrun.protocols.space import SearchSpace

PENALTY = 0.1  # of the ridge, on standardised counts


State = list[dict[str, Any]]


class Knowledge(Protocol):
    """What is known of one cost."""

    @property
    def num_measurements(self) -> int:
        """Count those that were bought."""

    def estimate(self, genotype: Genotype) -> float:
        """Return the cost for all one knows."""

    def measured(self, genotype: Genotype) -> float:
        """Return the cost itself."""

    def estimates(self, roster: Roster) -> np.ndarray:
        """Return estimate_N, float64, of all that is listed."""

    def state(self) -> State:
        """Return what was bought, as plain values."""

    def restore(self, state: State) -> None: ...


class Exact(Knowledge):
    """A cost that every candidate can be asked about."""

    num_measurements = 0

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[Genotype, float] = {}
        self._estimate_N: np.ndarray | None = None

    def estimate(self, genotype: Genotype) -> float:
        if genotype not in self._known:
            self._known[genotype] = self._measure.measure(genotype)
        return self._known[genotype]

    def measured(self, genotype: Genotype) -> float:
        return self.estimate(genotype)

    def estimates(self, roster: Roster) -> np.ndarray:
        if self._estimate_N is None:
            self._estimate_N = np.array([self.estimate(one) for one in roster.genotypes])
        return self._estimate_N

    def state(self) -> State:
        return []

    def restore(self, state: State) -> None:
        """Restore nothing."""


class FewMeasurements(Knowledge):
    """A cost that is measured for a few architectures.

    Isomorphic ones are measured apart: what is left over in a network takes time as well. Whoever
    needs to be certain of another one buys its measurement, and all later predictions learn
    from that.
    """

    def __init__(self, measure: Measure, space: SearchSpace) -> None:
        self._measure, self._space = measure, space
        self._known: dict[Genotype, float] = {}
        self._counted: dict[Genotype, Counter[str]] = {}
        self._model: tuple[float, dict[str, float]] | None = None

    @property
    def num_measurements(self) -> int:
        return len(self._known)

    def estimate(self, genotype: Genotype) -> float:
        if genotype in self._known:
            return self._known[genotype]
        intercept, weights = self._fitted()
        counts = self._counts(genotype)
        return intercept + sum(weights.get(name, 0.0) * counts[name] for name in counts)

    def _fitted(self) -> tuple[float, dict[str, float]]:
        if self._model is None:
            counts = [self._counts(one) for one in self._known]
            self._model = fit(counts, list(self._known.values()))
        return self._model

    def estimates(self, roster: Roster) -> np.ndarray:
        intercept, weights = self._fitted()
        weights_L = np.array([weights.get(name, 0.0) for name in roster.names])
        estimate_N = intercept + roster.counts_NL @ weights_L
        for genotype, cost in self._known.items():
            estimate_N[roster.place[genotype]] = cost
        return estimate_N

    def measured(self, genotype: Genotype) -> float:
        if genotype not in self._known:
            self._known[genotype] = self._measure.measure(genotype)
            self._model = None
        return self._known[genotype]

    def _counts(self, genotype: Genotype) -> Counter[str]:
        if genotype not in self._counted:
            self._counted[genotype] = Counter(self._space.graph(genotype).labels)
        return self._counted[genotype]

    def state(self) -> State:
        return [
            {"genotype": json.dumps(genotype.to_json()), "cost": cost}
            for genotype, cost in self._known.items()
        ]

    def restore(self, state: State) -> None:
        """Take over what was bought; raises what the reading of plain values raises."""
        bought = [(Genotype.from_json(json.loads(one["genotype"])), one["cost"]) for one in state]
        self._known = {genotype: float(cost) for genotype, cost in bought}
        self._model = None


def fit(
    counts: Sequence[Mapping[str, int]], costs: Sequence[float]
) -> tuple[float, dict[str, float]]:
    """Return the intercept, and the cost of one more operation of each name."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    names = sorted(set().union(*counts))
    counts_ND = np.array([[one.get(name, 0) for name in names] for one in counts], dtype=float)
    scaler = StandardScaler().fit(counts_ND)
    ridge = Ridge(alpha=PENALTY).fit(scaler.transform(counts_ND), np.array(costs))
    weights_D = ridge.coef_ / scaler.scale_
    intercept = float(ridge.intercept_ - weights_D @ scaler.mean_)
    return intercept, dict(zip(names, weights_D.tolist(), strict=True))

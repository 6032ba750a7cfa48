"""Know a cost from few measurements: the rest is predicted from how often each operation occurs.

Ridge regression on the counts of operations, standardised. From ten random cells of NAS-Bench-201
its Spearman correlation with the measured latency is .98 on a Xeon and .87 on a phone;
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

    def state(self) -> State:
        """Return what was bought, as plain values."""

    def restore(self, state: State) -> None: ...


class Exact(Knowledge):
    """A cost that every candidate can be asked about."""

    num_measurements = 0

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[Genotype, float] = {}

    def estimate(self, genotype: Genotype) -> float:
        if genotype not in self._known:
            self._known[genotype] = self._measure.measure(genotype)
        return self._known[genotype]

    def measured(self, genotype: Genotype) -> float:
        return self.estimate(genotype)

    def state(self) -> State:
        return []

    def restore(self, state: State) -> None:
        """Restore nothing."""


class FewMeasurements(Knowledge):
    """A cost that is measured for a few architectures; isomorphic ones share a measurement.

    Whoever needs to be certain of another one buys its measurement, and all later predictions learn
    from that.
    """

    def __init__(self, measure: Measure, space: SearchSpace) -> None:
        self._measure, self._space = measure, space
        self._known: dict[str, tuple[Genotype, float]] = {}  # by the canonical form
        self._keys: dict[Genotype, str] = {}
        self._model: tuple[float, dict[str, float]] | None = None

    @property
    def num_measurements(self) -> int:
        return len(self._known)

    def estimate(self, genotype: Genotype) -> float:
        known = self._known.get(self._key(genotype))
        if known is not None:
            return known[1]
        if self._model is None:
            genotypes, costs = zip(*self._known.values(), strict=True)
            self._model = fit([self._counts(one) for one in genotypes], costs)
        intercept, weights = self._model
        counts = self._counts(genotype)
        return intercept + sum(weights.get(name, 0.0) * counts[name] for name in counts)

    def measured(self, genotype: Genotype) -> float:
        key = self._key(genotype)
        if key not in self._known:
            self._known[key] = genotype, self._measure.measure(genotype)
            self._model = None
        return self._known[key][1]

    def _key(self, genotype: Genotype) -> str:
        if genotype not in self._keys:
            self._keys[genotype] = self._space.canonical(genotype)
        return self._keys[genotype]

    def _counts(self, genotype: Genotype) -> Counter[str]:
        return Counter(self._space.graph(genotype).labels)

    def state(self) -> State:
        return [
            {"genotype": json.dumps(genotype.to_json()), "cost": cost}
            for genotype, cost in self._known.values()
        ]

    def restore(self, state: State) -> None:
        """Take over what was bought; raises what the reading of plain values raises."""
        bought = [(Genotype.from_json(json.loads(one["genotype"])), one["cost"]) for one in state]
        self._known = {self._key(genotype): (genotype, float(cost)) for genotype, cost in bought}
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

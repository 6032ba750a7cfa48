"""Keep what a run proposes and finds within its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.few_measurements import Exact, FewMeasurements, Knowledge
from nasrun.protocols.measure import Limit, Limits
from nasrun.protocols.space import SearchSpace

MEASURED_FIRST = 20  # where it is not said; of what is too slow for every candidate
MOST_ENUMERATED = 100_000  # architectures that are all looked at before a space is given up
NUM_SAMPLED = 300  # in a larger space, before the smallest ones are climbed down to
NUM_CLIMBS = 5
CUT_OFF = 10.0  # the excess of an architecture whose output does not depend on its input


class LimitsOfRun(Limits):
    """The limits of one run, and what is known of the costs that they limit.

    Args:
        limits: of the constraints; none leaves out only what does not depend on its input.
        num_measured: how many random architectures are measured first, by whose costs the others
            are predicted; `None` measures `MEASURED_FIRST` where a cost is too slow for every
            candidate, and looks up the rest.
        rng: draws those.

    Raises:
        UsageError: no architecture of the space is within the limits.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Sequence[Limit],
        num_measured: int | None,
        rng: np.random.Generator,
    ) -> None:
        self.space, self.limits = space, tuple(limits)
        self._rng = rng
        self._connected: dict[Genotype, bool] = {}
        self._known = [self._knowledge(limit, num_measured) for limit in limits]
        self._listed: list[Genotype] | None = None
        self.example = self._require_possible()

    def _knowledge(self, limit: Limit, num_measured: int | None) -> Knowledge:
        few = num_measured is not None and limit.measure.is_bought
        if limit.measure.is_quick and not few:
            return Exact(limit.measure)
        known = FewMeasurements(limit.measure, self.space)
        for _ in range(100 * (num_measured or MEASURED_FIRST)):  # a small space has fewer
            if known.num_measurements == (num_measured or MEASURED_FIRST):
                break
            genotype = self.space.sample(self._rng)
            if self.is_connected(genotype):
                known.measured(genotype)
        return known

    @property
    def num_measurements(self) -> int:
        return sum(one.num_measurements for one in self._known)

    @property
    def is_exact(self) -> bool:
        """Return whether nothing is predicted."""
        return all(isinstance(one, Exact) for one in self._known)

    def is_connected(self, genotype: Genotype) -> bool:
        """Return whether the output depends on the input."""
        if genotype not in self._connected:
            adjacency_VV = self.space.graph(genotype).adjacency_VV
            reached_V = np.zeros(len(adjacency_VV), dtype=bool)
            reached_V[0] = True
            for vertex in range(1, len(adjacency_VV)):  # in the order of the graph
                reached_V[vertex] = bool((adjacency_VV[:vertex, vertex] > 0) @ reached_V[:vertex])
            self._connected[genotype] = bool(reached_V[-1])
        return self._connected[genotype]

    def allows(self, genotype: Genotype) -> bool:
        pairs = zip(self.limits, self._known, strict=True)
        return self.is_connected(genotype) and all(
            known.estimate(genotype) <= limit.at_most for limit, known in pairs
        )

    def holds(self, genotype: Genotype) -> bool:
        pairs = zip(self.limits, self._known, strict=True)
        return self.is_connected(genotype) and all(
            known.measured(genotype) <= limit.at_most for limit, known in pairs
        )

    def excess(self, genotype: Genotype) -> float:
        beyond = 0.0 if self.is_connected(genotype) else CUT_OFF
        for limit, known in zip(self.limits, self._known, strict=True):
            beyond += max(0.0, known.estimate(genotype) / limit.at_most - 1.0)
        return beyond

    def costs(self, genotype: Genotype) -> Mapping[str, float]:
        pairs = zip(self.limits, self._known, strict=True)
        return {limit.measure.objective.name: known.measured(genotype) for limit, known in pairs}

    def within(self, genotype: Genotype) -> Genotype:
        """Go to the neighbour of the least excess until one holds; else return one known to hold.

        What was predicted wrongly is known then, and is passed by.
        """
        for _ in range(NUM_SAMPLED):
            genotype = self.climbed_down(genotype)
            if not self.allows(genotype):
                break
            if self.holds(genotype):
                return genotype
        return self.example

    def climbed_down(self, genotype: Genotype) -> Genotype:
        """Go from neighbour to neighbour to where the excess is 0, or least."""
        excess = self.excess(genotype)
        while excess > 0:
            nearby = [(self.excess(one), one) for one in self.space.neighbours(genotype)]
            least, best = min(nearby, key=lambda pair: pair[0], default=(excess, genotype))
            if least >= excess:
                break
            excess, genotype = least, best
        return genotype

    def listed(self) -> list[Genotype] | None:
        """List all that is allowed, in a small space where nothing is predicted; else `None`."""
        if self._listed is None and self.is_exact and self.space.size() <= MOST_ENUMERATED:
            self._listed = [one for one in self.space.enumerate() if self.allows(one)]
        return self._listed

    def _require_possible(self) -> Genotype:
        """Return an architecture that holds; raise a `UsageError` where there seems to be none."""
        found = [self.space.sample(self._rng) for _ in range(NUM_SAMPLED)]
        for genotype in found:
            if self.allows(genotype) and self.holds(genotype):
                return genotype
        if (listed := self.listed()) is not None:
            if listed:
                return listed[0]
            raise UsageError(self._impossible(list(self.space.enumerate()), "the lowest of all"))
        starts = sorted(found, key=self.excess)[:NUM_CLIMBS]
        lowest = list[Genotype]()
        for start in starts:
            genotype = self.climbed_down(start)
            for _ in range(NUM_CLIMBS):  # what was predicted wrongly is known then
                lowest.append(genotype)
                if self.holds(genotype):
                    return genotype
                genotype = self.climbed_down(genotype)
        raise UsageError(self._impossible(lowest, "the lowest that was found"))

    def _impossible(self, genotypes: Sequence[Genotype], what: str) -> str:
        typed = " and ".join(f"{limit.key}={_shown(limit)}" for limit in self.limits)
        lowest = ", ".join(self._lowest([one for one in genotypes if self.is_connected(one)]))
        together = " together" if len(self.limits) > 1 else ""
        return (
            f"{typed} leave{'s' * (len(self.limits) == 1)} no architecture of "
            f"space={self.space.name}{together}: {what} is {lowest}; raise a limit, or choose "
            "smaller networks"
        )

    def _lowest(self, genotypes: Sequence[Genotype]) -> Iterator[str]:
        for limit, known in zip(self.limits, self._known, strict=True):
            value = min(map(known.estimate, genotypes))
            objective = limit.measure.objective
            yield f"{value:,.6g} {objective.unit} ({objective.name})"

    def state_dict(self) -> dict[str, Any]:
        return {"measured": [one.state() for one in self._known]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for known, measured in zip(self._known, state["measured"], strict=True):
            known.restore(measured)


def _shown(limit: Limit) -> str:
    return f"{limit.at_most / SCALES.get(limit.key, 1.0):g}"


SCALES = {"constraint.params_m": 1e6, "constraint.flops_m": 1e6, "constraint.memory_mb": 1e6}
"""Keys in another unit than their objective: how many of its units make one of theirs."""

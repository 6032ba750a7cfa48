"""Keep what a run proposes and finds within its limits. Shapes: N listed architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.few_measurements import Exact, FewMeasurements, Knowledge
from nasrun.objectives.roster import Roster, is_connected, roster_of
from nasrun.protocols.measure import Limit, Limits
from nasrun.protocols.space import SearchSpace

MEASURED_FIRST = 20  # where it is not said; of what is too slow for every candidate
NUM_SAMPLED = 300  # before a space is searched for something within the limits
RARE = 0.05  # share of them below which a small space is drawn from by its list
NUM_CLIMBS = 5
CUT_OFF = 1e9  # the excess of an architecture whose output does not depend on its input


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
        self._allowed: tuple[int, np.ndarray] | None = None
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

    @cached_property
    def roster(self) -> Roster | None:
        """Return the list of all architectures, in a small space."""
        return roster_of(self.space)

    def is_connected(self, genotype: Genotype) -> bool:
        """Return whether the output depends on the input."""
        if genotype not in self._connected:
            self._connected[genotype] = is_connected(self.space.graph(genotype).adjacency_VV)
        return self._connected[genotype]

    def allows(self, genotype: Genotype) -> bool:
        return self._estimates_fit(genotype) and self.is_connected(genotype)

    def _estimates_fit(self, genotype: Genotype) -> bool:
        pairs = zip(self.limits, self._known, strict=True)
        return all(known.estimate(genotype) <= limit.at_most for limit, known in pairs)

    def holds(self, genotype: Genotype) -> bool:
        pairs = zip(self.limits, self._known, strict=True)
        return self.is_connected(genotype) and all(
            known.measured(genotype) <= limit.at_most for limit, known in pairs
        )

    @property
    def can_be_known(self) -> bool:
        """Return whether there are limits, of costs that can be had for every architecture."""
        return bool(self.limits) and all(limit.measure.is_quick for limit in self.limits)

    def truly_holds(self, genotype: Genotype) -> bool:
        """Return whether an architecture is within the limits; what is looked up is not bought.

        For those who judge a search from outside.
        """
        within = (one.measure.measure(genotype) <= one.at_most for one in self.limits)
        return all(within) and self.is_connected(genotype)

    def excess(self, genotype: Genotype) -> float:
        beyond = 0.0 if self.is_connected(genotype) else CUT_OFF
        for limit, known in zip(self.limits, self._known, strict=True):
            beyond += max(0.0, known.estimate(genotype) / limit.at_most - 1.0)
        return beyond

    def costs(self, genotype: Genotype) -> Mapping[str, float]:
        pairs = zip(self.limits, self._known, strict=True)
        return {limit.measure.objective.name: known.measured(genotype) for limit, known in pairs}

    def within(self, genotype: Genotype) -> Genotype:
        """Take what is allowed nearby until one holds; else return one known to hold.

        What was predicted wrongly is known then, and is passed by.
        """
        for _ in range(NUM_SAMPLED):
            genotype = self.moved(genotype)
            if not self.allows(genotype):
                break
            if self.holds(genotype):
                return genotype
        return self.example

    def moved(self, genotype: Genotype) -> Genotype:
        """Return the allowed architecture that has the most genes in common.

        In a space that is too large for a list it is climbed to, from neighbour to neighbour with
        the least excess, and may be none that is allowed.
        """
        if self.allows(genotype):
            return genotype
        if self.roster is not None:
            genes_D = np.array(self.space.encode(genotype))
            return self.roster.nearest(genes_D, self.allowed()) or genotype
        excess = self.excess(genotype)
        while excess > 0:
            nearby = [(self.excess(one), one) for one in self.space.neighbours(genotype)]
            least, best = min(nearby, key=lambda pair: pair[0], default=(excess, genotype))
            if least >= excess:
                break
            excess, genotype = least, best
        return genotype

    def allowed(self) -> np.ndarray:
        """Return allowed_N, bool, of the roster."""
        assert self.roster is not None
        if self._allowed is None or self._allowed[0] != self.num_measurements:
            allowed_N = self.roster.connected_N.copy()
            for limit, known in zip(self.limits, self._known, strict=True):
                allowed_N &= known.estimates(self.roster) <= limit.at_most
            self._allowed = self.num_measurements, allowed_N
        return self._allowed[1]

    def _require_possible(self) -> Genotype:
        """Return an architecture that holds; raise a `UsageError` where there seems to be none."""
        found = [self.space.sample(self._rng) for _ in range(NUM_SAMPLED)]
        allowed = [one for one in found if self.allows(one)]
        self.is_rare = len(allowed) < RARE * NUM_SAMPLED
        for genotype in allowed:
            if self.holds(genotype):
                return genotype
        if self.roster is not None:
            return self._first_of_list(self.roster)
        lowest = list[Genotype]()
        for start in sorted(found, key=self.excess)[:NUM_CLIMBS]:
            genotype = start
            for _ in range(NUM_CLIMBS):  # what was predicted wrongly is known then
                genotype = self.moved(genotype)
                lowest.append(genotype)
                if self.holds(genotype):
                    return genotype
        raise UsageError(self._impossible(lowest, "the lowest that was found"))

    def _first_of_list(self, roster: Roster) -> Genotype:
        """Return the first of a list that holds; where all are looked up, one that is allowed does.

        What is predicted is measured from the least excess on, a few times `NUM_CLIMBS`.
        """
        for _ in range(NUM_CLIMBS**2):
            if self.allowed().any():
                least = int(self.allowed().argmax())
            elif self.num_measurements == 0:
                raise UsageError(self._impossible(roster.genotypes, "the lowest of all"))
            else:
                least = int(self._beyond(roster).argmin())
                if not self._is_new(roster.genotypes[least]):  # it is measured, and still the least
                    break
            if self.holds(roster.genotypes[least]):
                return roster.genotypes[least]
        raise UsageError(self._impossible(roster.genotypes, "the lowest as far as is known"))

    def _is_new(self, genotype: Genotype) -> bool:
        """Return whether its measurement teaches anything."""
        before = self.num_measurements
        self.holds(genotype)
        return self.num_measurements > before

    def _beyond(self, roster: Roster) -> np.ndarray:
        """Return excess_N of the roster."""
        beyond_N = np.where(roster.connected_N, 0.0, CUT_OFF)
        for limit, known in zip(self.limits, self._known, strict=True):
            beyond_N = beyond_N + np.maximum(0.0, known.estimates(roster) / limit.at_most - 1.0)
        return beyond_N

    def _impossible(self, genotypes: Sequence[Genotype], what: str) -> str:
        typed = " and ".join(f"{limit.key}={_shown(limit)}" for limit in self.limits)
        connected = [one for one in genotypes if self.is_connected(one)]
        lowest = ", ".join(self._lowest(connected or genotypes))
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
        self._allowed = None


def _shown(limit: Limit) -> str:
    return f"{limit.at_most / SCALES.get(limit.key, 1.0):g}"


SCALES = {"constraint.params_m": 1e6, "constraint.flops_m": 1e6, "constraint.memory_mb": 1e6}
"""Keys in another unit than their objective: how many of its units make one of theirs."""

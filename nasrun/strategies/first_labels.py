"""Choose where the first labels of a search go, by what is known for nothing.

Shapes: N architectures that are scored, F figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.knowledge import Initial, Knowledge, mean_ranks
from nasrun.protocols.space import SearchSpace
from nasrun.strategies.free_pool import free_pool

SHARE = 0.1  # of the architectures that are scored, the most promising
SPARE = 2  # times the labels of a search are in the share at least: some compute the same

KNOWLEDGE: dict[Initial, Knowledge] = {"largest": "size", "zero_cost": "zero_cost"}


class FirstLabels:
    """A source of architectures for first labels that are not drawn from the whole space.

    All of a small space are scored; of a large one as many as can be afforded, the same ones
    whatever the seed. Where a score takes time, no more are scored than the tenth needs.

    Args:
        num_labels: that the search buys at most.
    """

    def __init__(self, context: SearchContext, initial: Initial, num_labels: int) -> None:
        self.space: SearchSpace = context.allowed_space
        self.initial = initial
        self._scores = context.free_scores(KNOWLEDGE[initial])
        self._ties = context.streams.derived("first_labels").numpy("ties")
        self._least = SPARE * num_labels

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Draw one of the most promising tenth; which of equals are in it is up to the seed."""
        return self._promising[int(rng.integers(len(self._promising)))]

    def best(self) -> Genotype:
        """Return the most promising one, whatever the seed."""
        largest = self.space.largest() if self.initial == "largest" else None
        return largest or self._pool[int(self._rank_N.argmax())]

    @cached_property
    def _pool(self) -> list[Genotype]:
        most = self._scores.num_affordable
        if self._scores.takes_time:
            most = min(most, round(self._least / SHARE))
        return free_pool(self.space, most)

    @property
    def _rank_N(self) -> np.ndarray:
        return mean_ranks(self._values_NF)

    @cached_property
    def _values_NF(self) -> np.ndarray:
        return self._scores.values(self._pool)

    @cached_property
    def ranked(self) -> list[Genotype]:
        """Return all that were scored, the most promising first; the seed orders equals."""
        order_N = np.lexsort((self._ties.random(len(self._pool)), -self._rank_N))
        return [self._pool[place] for place in order_N]

    @cached_property
    def _promising(self) -> list[Genotype]:
        return self.ranked[: max(self._least, round(SHARE * len(self._pool)))]

    def figures(self, genotype: Genotype) -> dict[str, float]:
        """Return the finite figures of an architecture by their names; none if it has no scores."""
        place = self._places.get(genotype)
        if place is None:
            return {}
        pairs = zip(self._scores.names, self._values_NF[place].tolist(), strict=True)
        return {name: value for name, value in pairs if np.isfinite(value)}

    @cached_property
    def _places(self) -> dict[Genotype, int]:
        return {genotype: place for place, genotype in enumerate(self._pool)}

    @property
    def how(self) -> str:
        """Say what was scored, and how much of it in vain."""
        if not self._scores.takes_time:
            return self._scores.how
        num_scored = len(self._values_NF)
        num_without = int((~np.isfinite(self._values_NF)).any(axis=1).sum())
        last = f", {num_without:,} of them not finite and so last" if num_without else ""
        return f"{self._scores.how}: {num_scored:,} architectures scored{last}"

    def state_dict(self) -> dict[str, Any]:
        """Return the scores where they take time, or else nothing."""
        if not self._scores.takes_time:
            return {}
        known = "_values_NF" in vars(self)
        empty = torch.empty(0, 0, dtype=torch.float64)
        return {"scores": torch.from_numpy(self._values_NF) if known else empty}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not self._scores.takes_time or state["scores"].numel() == 0:
            return
        values_NF = state["scores"].numpy()
        expected = (len(self._pool), len(self._scores.names))
        if values_NF.shape != expected:
            raise ValueError(f"the scores are of the shape {values_NF.shape}, and not {expected}")
        self._values_NF = values_NF

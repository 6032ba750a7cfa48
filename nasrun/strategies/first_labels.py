"""Choose where the first labels of a search go, by what is known for nothing."""

from __future__ import annotations

from functools import cached_property

import numpy as np

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
    whatever the seed.

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
        return free_pool(self.space, self._scores.num_affordable)

    @cached_property
    def _rank_N(self) -> np.ndarray:
        return mean_ranks(self._scores.values(self._pool))

    @cached_property
    def _promising(self) -> list[Genotype]:
        order_N = np.lexsort((self._ties.random(len(self._pool)), -self._rank_N))
        count = max(self._least, round(SHARE * len(self._pool)))
        return [self._pool[place] for place in order_N[:count]]

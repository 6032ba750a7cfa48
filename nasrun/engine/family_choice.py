"""Choose which networks of a space make a family: small to large, at even ratios of their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasrun.genotypes.genotype import Genotype


@dataclass(frozen=True)
class Candidate:
    """An architecture and what its network costs."""

    genotype: Genotype
    params: int
    flops: int  # multiply-adds of one input


def by_cost(drawn: Sequence[Candidate], count: int) -> list[list[Candidate]]:
    """Sort candidates into `count` intervals of equal ratio of multiply-adds, empty ones left out.

    >>> [len(part) for part in by_cost([Candidate(None, 0, n) for n in (1, 2, 3, 100)], 2)]
    [3, 1]
    """
    flops_N = np.array([one.flops for one in drawn], dtype=float)
    edges = np.geomspace(flops_N.min(), flops_N.max(), count + 1)[1:-1]
    place_N = np.searchsorted(edges, flops_N, side="right")
    parts = [[drawn[n] for n in np.flatnonzero(place_N == part).tolist()] for part in range(count)]
    return [part for part in parts if part]


def spread(
    ends: Sequence[Candidate], ranked: Sequence[Sequence[Candidate]], count: int
) -> list[Candidate]:
    """Take both ends, then the best of each part, the second of each, and so on.

    The first and the last part, where the ends are from, come after the others.
    """
    chosen = list(ends)
    for rank in range(max(map(len, ranked))):
        for part in [*ranked[1:-1], ranked[0], ranked[-1]]:
            if rank < len(part) and len(chosen) < count and part[rank] not in chosen:
                chosen.append(part[rank])
    return sorted(chosen, key=lambda one: one.flops)


def compared(num_members: int, count: int) -> list[int]:
    """Return the places of `count` members, evenly from the smallest to the largest.

    >>> compared(24, 3), compared(24, 0), compared(2, 5)
    ([0, 12, 23], [], [0, 1])
    """
    places = np.linspace(0, num_members - 1, min(count, num_members))
    return [int(np.floor(place + 0.5)) for place in places]

"""Choose the architectures that are scored for nothing, to compare others with."""

from __future__ import annotations

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import SearchSpace
from nasrun.randomness import RandomStreams


def free_pool(space: SearchSpace, num_affordable: int) -> list[Genotype]:
    """Return all of a small space, or different ones of a large one, the same whatever the seed."""
    if space.size() <= num_affordable:
        return list(space.enumerate())
    rng = RandomStreams(0).numpy("first_labels")
    return list(dict.fromkeys(space.sample(rng) for _ in range(num_affordable)))

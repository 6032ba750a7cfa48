"""List all architectures of a small space once, so that limits are a matter of arrays.

Shapes: N architectures, D genes, L names of operations, W weights of a mixture.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import DifferentiableSpace, SearchSpace

MOST_LISTED = 20_000  # architectures; NAS-Bench-201 has 15,625


class Roster:
    """All architectures of a space, in the order in which it lists them."""

    def __init__(self, space: SearchSpace) -> None:
        self.genotypes = list(space.enumerate())
        self.genes_ND = np.array([space.encode(one) for one in self.genotypes])
        graphs = [space.graph(one) for one in self.genotypes]
        self.connected_N = np.array([is_connected(one.adjacency_VV) for one in graphs])
        counts = [Counter(one.labels) for one in graphs]
        self.names = sorted(set().union(*counts))
        self.counts_NL = np.array([[one[name] for name in self.names] for one in counts])

    @cached_property
    def place(self) -> dict[Genotype, int]:
        return {genotype: place for place, genotype in enumerate(self.genotypes)}

    def one_hot(self, space: DifferentiableSpace) -> np.ndarray:
        """Return weights_NW, float32: the mixing weights of each architecture, one after another.

        The first call takes a second.
        """
        if self._one_hot_NW is None:
            rows = [space.one_hot(one) for one in self.genotypes]
            flat = [np.concatenate([row[name].numpy().ravel() for name in row]) for row in rows]
            self._one_hot_NW = np.stack(flat)
        return self._one_hot_NW

    _one_hot_NW: np.ndarray | None = None

    def nearest(self, genes_D: np.ndarray, allowed_N: np.ndarray) -> Genotype | None:
        """Return the first of the allowed ones with the most genes in common, if there is any."""
        if not allowed_N.any():
            return None
        different_N = (self.genes_ND != genes_D).sum(axis=1)
        return self.genotypes[int(np.where(allowed_N, different_N, len(genes_D) + 1).argmin())]


_rosters: dict[tuple[object, ...], Roster] = {}


def roster_of(space: SearchSpace) -> Roster | None:
    """Return the roster of a small space, which the runs of a sweep share; else `None`."""
    if space.size() > MOST_LISTED:
        return None
    key = (space.name, space.cardinalities, space.operations)
    if key not in _rosters:
        _rosters[key] = Roster(space)
    return _rosters[key]


def is_connected(adjacency_VV: np.ndarray) -> bool:
    """Return whether the last vertex of a graph is reached from the first.

    >>> is_connected(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    False
    """
    reached = [True]
    for entering_V in adjacency_VV.T[1:].tolist():  # vertices come after those that feed them
        pairs = zip(entering_V, reached, strict=False)  # nothing comes from later ones
        reached.append(any(there and known for there, known in pairs))
    return reached[-1]

"""Architectures of a space as graphs, and pairs that are one edit apart: food for pre-training."""

from __future__ import annotations

import hashlib

import numpy as np

from nasrun.genotype import Genotype
from nasrun.protocols import ArchGraph, SearchSpace

NUM_FINGERPRINTED = 64


class OneEditPairs:
    """`prediction.Unlabelled` of a search space: a pair is a genotype and a mutant of it."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def fingerprint(self) -> str:
        """Of the name, the genes and some graphs: spaces that look alike to a predictor agree."""
        space, rng = self._space, np.random.default_rng(0)  # the same sample whatever the run
        checksum = hashlib.sha256(f"{space.name} {space.cardinalities}".encode())
        for _ in range(NUM_FINGERPRINTED):
            graph = space.graph(space.sample(rng))
            checksum.update(f"{graph.labels} {graph.adjacency_VV.tolist()}".encode())
        return checksum.hexdigest()

    def draw(
        self, num_architectures: int, num_pairs: int, rng: np.random.Generator
    ) -> tuple[list[ArchGraph], np.ndarray]:
        space = self._space
        if space.size() <= num_architectures:
            anchors = list(space.enumerate())
        else:
            anchors = [space.sample(rng) for _ in range(num_architectures)]
        row_of: dict[Genotype, int] = {}
        for anchor in anchors:
            row_of.setdefault(anchor, len(row_of))
        pairs_P2 = np.empty((num_pairs, 2), dtype=np.int64)
        for pair, first in enumerate(rng.integers(len(anchors), size=num_pairs)):
            mutant = space.mutate(anchors[first], rng)
            pairs_P2[pair] = row_of[anchors[first]], row_of.setdefault(mutant, len(row_of))
        return [space.graph(genotype) for genotype in row_of], pairs_P2

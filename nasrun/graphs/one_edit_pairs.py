"""Draw architectures as graphs, and pairs that are one edit apart, to pre-train a predictor on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import ArchGraph, SearchSpace

NUM_FINGERPRINTED = 64


class OneEditPairs:
    """Unlabelled data of a search space: a pair is a genotype and a mutant of it."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def fingerprint(self) -> str:
        """Return a checksum that agrees for spaces that look alike to a predictor.

        It covers the name, the genes and the graphs of some genotypes.
        """
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
        if space.size() == math.prod(space.cardinalities) <= num_architectures:
            graphs = [space.graph(genotype) for genotype in space.enumerate()]
            return graphs, pairs_of_a_grid(space.cardinalities, num_pairs, rng)
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


def pairs_of_a_grid(
    cardinalities: Sequence[int], num_pairs: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw pairs_P2 of rows in a space where every combination of genes is a genotype.

    Rows are in the order of the genes, the last one fastest, so that a mutant's row is a matter of
    arithmetic and no genotype need be built.
    """
    sizes_D = np.array(cardinalities)
    # How many rows apart two genotypes are that differ by 1 in a gene: the product of the
    # cardinalities behind it.
    strides_D = np.append(np.cumprod(sizes_D[:0:-1])[::-1], 1)
    rows_P = rng.integers(math.prod(cardinalities), size=num_pairs)
    changed_P = rng.choice(np.flatnonzero(sizes_D > 1), size=num_pairs)
    size_P, stride_P = sizes_D[changed_P], strides_D[changed_P]
    gene_P = rows_P // stride_P % size_P
    # a shift by 1 to size - 1 never gives the old value, and all others alike
    new_gene_P = (gene_P + rng.integers(1, size_P)) % size_P
    return np.stack([rows_P, rows_P + (new_gene_P - gene_P) * stride_P], axis=1)

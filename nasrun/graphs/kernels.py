"""Encode architectures as graph kernels do: Weisfeiler-Lehman labels and statistics.

Ours, because networkx makes texts of the labels of graphs of its own kind, and a search asks for
many thousands of their counts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np

from nasrun.graphs.paths import NUM_CACHED, _content, _matrix
from nasrun.protocols.space import ArchGraph

NUM_BUCKETS = 512  # into which Weisfeiler-Lehman labels are hashed


class LabelCode:
    """A code of what a graph kernel sees.

    It holds the roots of the counts of Weisfeiler-Lehman labels, and statistics of the graph,
    standardised over the architectures that it was fitted to.
    """

    depth = 1  # rounds of relabelling

    def __init__(
        self, operations: Sequence[str], shift: Sequence[float], scale: Sequence[float]
    ) -> None:
        self.operations = tuple(operations)
        self._shift_F, self._scale_F = np.array(shift), np.array(scale)
        self.num_bits = NUM_BUCKETS + len(self._shift_F)

    @classmethod
    def fitting(cls, graphs: Sequence[ArchGraph]) -> Self:
        """Fit the standardisation of the statistics to these graphs."""
        operations = sorted({label for graph in graphs for label in graph.labels})
        statistics_NF = np.array([statistics(graph, operations) for graph in graphs])
        deviation_F = statistics_NF.std(axis=0)
        # What never varied says nothing, and gets a scale of 0.
        scale_F = 1.0 / np.where(deviation_F > 0, deviation_F, np.inf)
        return cls(operations, statistics_NF.mean(axis=0).tolist(), scale_F.tolist())

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        counts_NF = np.array([label_counts(graph, self.depth) for graph in graphs])
        statistics_NF = np.array([statistics(graph, self.operations) for graph in graphs])
        centred_NF = (statistics_NF - self._shift_F) * self._scale_F
        return np.hstack([np.sqrt(counts_NF, dtype=np.float64), centred_NF]).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        sizes = {"shift": self._shift_F.tolist(), "scale": self._scale_F.tolist()}
        return {"kind": "labels", "operations": list(self.operations), **sizes}


def label_counts(graph: ArchGraph, depth: int) -> np.ndarray:
    """Count the Weisfeiler-Lehman labels of all rounds, hashed: counts_F, uint8, F = NUM_BUCKETS.

    The label of a vertex is first its operation and then, `depth` times, its own with those of its
    predecessors; and the same once more with its successors. The array is cached: do not write to
    it.
    """
    return _label_counts(*_content(graph), depth)


@lru_cache(maxsize=NUM_CACHED)
def _label_counts(operations: tuple[str, ...], adjacency: bytes, depth: int) -> np.ndarray:
    adjacency_VV = _matrix(adjacency)
    # Python's own hash of a text differs from process to process.
    first = [zlib.crc32(operation.encode()) for operation in operations]
    seen = list(first)
    for direction, heard_VV in enumerate((adjacency_VV.T, adjacency_VV)):
        sources = [np.flatnonzero(row_V).tolist() for row_V in heard_VV]
        labels = first
        for _ in range(depth):  # the hash of a tuple of whole numbers is the same in every process
            labels = [
                hash((direction, own, *sorted(labels[source] for source in heard)))
                for own, heard in zip(labels, sources, strict=True)
            ]
            seen += labels
    return np.bincount(np.array(seen) % NUM_BUCKETS, minlength=NUM_BUCKETS).astype(np.uint8)


def statistics(graph: ArchGraph, labels: Sequence[str]) -> list[float]:
    """Describe the size and shape of a graph in numbers.

    They are the counts of vertices and edges, the degrees of input and output, the lengths of the
    longest and the shortest path, the logarithm of how many paths there are, and the count of each
    label.
    """
    shape = _shape_statistics(*_content(graph))
    return [*shape, *(float(graph.labels.count(label)) for label in labels)]


@lru_cache(maxsize=NUM_CACHED)
def _shape_statistics(operations: tuple[str, ...], adjacency: bytes) -> tuple[float, ...]:
    adjacency_VV = _matrix(adjacency)
    longest, shortest, paths = [0.0], [0.0], [1.0]
    for into_V in adjacency_VV.T.tolist()[1:]:
        before = [source for source, arrow in enumerate(into_V) if arrow and paths[source] > 0]
        # Vertices are in topological order. Without a way from the input, `longest` and `shortest`
        # are 0 and `paths` is 0, so that a vertex is left out of `before` later on.
        longest.append(1.0 + max((longest[source] for source in before), default=-1.0))
        shortest.append(1.0 + min((shortest[source] for source in before), default=-1.0))
        paths.append(sum(paths[source] for source in before))
    return (
        float(len(operations)),
        float(adjacency_VV.sum()),
        float(adjacency_VV[0].sum()),
        float(adjacency_VV[:, -1].sum()),
        longest[-1],
        shortest[-1],
        float(np.log1p(paths[-1])),
    )

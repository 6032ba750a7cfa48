"""Codes of architectures, made from their graphs alone: no space is known here by name.

The hard code is that of DCL-ENAS (arXiv 2512.20112): every path from input to output is written as
the operations along it, each a one-hot vector in a slot; the codes of all paths, sorted by length
and then by path-id, follow each other, and zeros fill up to the largest number of paths.

Shapes: N graphs, V vertices, L paths per code (L_seq), S slots per path, O operations, D bits.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal, Protocol, Self, TypeAlias

import numpy as np

from nasrun.protocols import ArchGraph

NUM_BUCKETS = 512  # into which Weisfeiler-Lehman labels are hashed
NUM_CACHED = 2**16  # a search asks for the same architectures again and again

Path: TypeAlias = tuple[str, ...]
"""The operations that change something, in the order in which a signal meets them."""


def effective_paths(graph: ArchGraph) -> tuple[Path, ...]:
    """All paths from input to output without the operations that do nothing, shortest first.

    A path through `none` carries nothing and is left out; `skip_connect` is left out of a path.
    Paths of one length are sorted by name, which stands in for the path-id. Graphs with equal
    paths have equal hard codes, whatever the code's width.
    """
    return _effective_paths(*_content(graph))


@lru_cache(maxsize=NUM_CACHED)
def _effective_paths(labels: tuple[str, ...], adjacency: bytes) -> tuple[Path, ...]:
    effects = [_effect(label) for label in labels]
    effects[-1] = ()  # the output
    paths_to: list[list[Path]] = [[()]]  # to each vertex so far
    into_VV = _matrix(adjacency).T.tolist()
    for own, into_V in zip(effects[1:], into_VV[1:], strict=True):
        arriving = [
            path for source, paths in enumerate(paths_to) if into_V[source] for path in paths
        ]
        paths_to.append([] if own is None else [path + own for path in arriving])
    return tuple(sorted(paths_to[-1], key=lambda path: (len(path), path)))


@cache
def _effect(label: str) -> Path | None:
    """What a vertex adds to a path; `None` ends it. A label may begin with its cell's name."""
    operation = label.rpartition(":")[2]
    if operation == "none":
        return None
    return () if operation == "skip_connect" else (label,)


class Code(Protocol):
    """Turns graphs into vectors of one length."""

    num_bits: int

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        """codes_ND, float32, zeros and ones."""

    def state_dict(self) -> dict[str, Any]: ...


class PathCode:
    """The hard code: L paths of S slots, each one-hot over O operations, and a presence bit.

    What does not fit is cut: paths behind the L shortest, operations behind the S-th, and
    operations that are unknown (their slot stays zero).
    """

    def __init__(self, operations: Sequence[str], num_paths: int, num_slots: int) -> None:
        self.operations = tuple(operations)
        self.num_paths, self.num_slots = num_paths, num_slots
        self._path_bits = num_slots * len(self.operations) + 1
        self.num_bits = num_paths * self._path_bits
        self._index = {name: i for i, name in enumerate(self.operations)}
        self._codes: dict[tuple[Path, ...], np.ndarray] = {}  # of those seen so far

    @classmethod
    def fitting(cls, graphs: Sequence[ArchGraph]) -> Self:
        """The smallest code that holds all of the graphs."""
        all_paths = [effective_paths(graph) for graph in graphs]
        distinct = {path for paths in all_paths for path in paths}
        operations = sorted({operation for path in distinct for operation in path})
        num_paths = max((len(paths) for paths in all_paths), default=0)
        return cls(operations, max(1, num_paths), max(map(len, distinct), default=0))

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        codes = [self._code(effective_paths(graph)) for graph in graphs]
        return np.array(codes, dtype=np.float32).reshape(len(graphs), self.num_bits)

    def _code(self, paths: tuple[Path, ...]) -> np.ndarray:
        if paths not in self._codes:
            code_D = np.zeros(self.num_bits, dtype=np.float32)
            for rank, path in enumerate(paths[: self.num_paths]):
                first = rank * self._path_bits
                code_D[[first, *(first + 1 + bit for bit in self._bits(path))]] = 1.0
            self._codes[paths] = code_D
        return self._codes[paths]

    def _bits(self, path: Path) -> list[int]:
        """The bits that are set among the S*O of one path, operations left-aligned."""
        slots = enumerate(path[: self.num_slots])
        known = ((slot, self._index[name]) for slot, name in slots if name in self._index)
        return [slot * len(self.operations) + index for slot, index in known]

    def state_dict(self) -> dict[str, Any]:
        sizes = {"num_paths": self.num_paths, "num_slots": self.num_slots}
        return {"kind": "paths", "operations": list(self.operations), **sizes}


class PathBits:
    """The path code of BANANAS (arXiv 1910.11858, section 4): one bit for each of some paths.

    Paths that are not among them set no bit.
    """

    def __init__(self, paths: Sequence[Sequence[str]]) -> None:
        self.paths = tuple(tuple(path) for path in paths)
        self.num_bits = len(self.paths)
        self._index = {path: i for i, path in enumerate(self.paths)}

    @classmethod
    def frequent(cls, graphs: Sequence[ArchGraph], num_paths: int) -> Self:
        """Of the paths that most of the graphs have, the shorter ones first among equals."""
        counts = Counter(path for graph in graphs for path in set(effective_paths(graph)))
        order = sorted(counts, key=lambda path: (-counts[path], len(path), path))
        return cls(order[:num_paths])

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        codes_ND = np.zeros((len(graphs), self.num_bits), dtype=np.float32)
        for code_D, graph in zip(codes_ND, graphs, strict=True):
            paths = effective_paths(graph)
            code_D[[self._index[path] for path in paths if path in self._index]] = 1.0
        return codes_ND

    def state_dict(self) -> dict[str, Any]:
        return {"paths": [list(path) for path in self.paths]}


class AdjacencyCode:
    """The control of the ablation: each vertex one-hot, and the upper triangle of the adjacency."""

    def __init__(self, operations: Sequence[str], num_vertices: int) -> None:
        self.operations = tuple(operations)
        self.num_vertices = num_vertices
        pairs = num_vertices * (num_vertices - 1) // 2
        self.num_bits = num_vertices * len(self.operations) + pairs
        self._index = {name: i for i, name in enumerate(self.operations)}

    @classmethod
    def fitting(cls, graphs: Sequence[ArchGraph]) -> Self:
        operations = sorted({label for graph in graphs for label in graph.labels})
        return cls(operations, max(len(graph.labels) for graph in graphs))

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        num_vertices = self.num_vertices
        labels_NVO = np.zeros((len(graphs), num_vertices, len(self.operations)), np.float32)
        adjacency_NVV = np.zeros((len(graphs), num_vertices, num_vertices), np.float32)
        for n, graph in enumerate(graphs):
            for vertex, label in enumerate(graph.labels[:num_vertices]):
                if label in self._index:
                    labels_NVO[n, vertex, self._index[label]] = 1.0
            size = min(len(graph.labels), num_vertices)
            adjacency_NVV[n, :size, :size] = graph.adjacency_VV[:size, :size]
        above = np.triu_indices(num_vertices, k=1)
        flat_ND = labels_NVO.reshape(len(graphs), -1)
        return np.concatenate([flat_ND, adjacency_NVV[:, above[0], above[1]]], axis=1)

    def state_dict(self) -> dict[str, Any]:
        return {
            "kind": "adjacency",
            "operations": list(self.operations),
            "num_vertices": self.num_vertices,
        }


class LabelCode:
    """What a graph kernel sees: roots of the counts of Weisfeiler-Lehman labels, and statistics of
    the graph, standardised over the architectures that it was fitted to."""

    depth = 1  # rounds of relabelling

    def __init__(
        self, operations: Sequence[str], shift: Sequence[float], scale: Sequence[float]
    ) -> None:
        self.operations = tuple(operations)
        self._shift_F, self._scale_F = np.array(shift), np.array(scale)
        self.num_bits = NUM_BUCKETS + len(self._shift_F)

    @classmethod
    def fitting(cls, graphs: Sequence[ArchGraph]) -> Self:
        operations = sorted({label for graph in graphs for label in graph.labels})
        statistics_NF = np.array([statistics(graph, operations) for graph in graphs])
        deviation_F = statistics_NF.std(axis=0)
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


CodeName = Literal["paths", "labels", "adjacency"]

CODES: Mapping[str, type[PathCode] | type[LabelCode] | type[AdjacencyCode]] = {
    "paths": PathCode,
    "labels": LabelCode,
    "adjacency": AdjacencyCode,
}


def code_from_state(state: Mapping[str, Any]) -> Code:
    """The inverse of `state_dict` of any code."""
    settings = {key: value for key, value in state.items() if key != "kind"}
    return CODES[state["kind"]](**settings)


def standardised_ranks(values_N: np.ndarray) -> np.ndarray:
    """Targets of mean 0 and deviation 1 that depend on the order alone; equal values share one.

    What counts in a search is the order, and a failed label (-inf) is no more than the last one.
    """
    from scipy.stats import rankdata

    ranks_N = rankdata(values_N)
    deviation = float(ranks_N.std())
    return (ranks_N - ranks_N.mean()) / deviation if deviation > 0 else np.zeros(len(ranks_N))


def normal_scores(values_N: np.ndarray) -> np.ndarray:
    """Like `standardised_ranks`, but spread as a normal distribution: differences among the best
    count for more than those in the middle."""
    from scipy.stats import norm, rankdata

    scores_N = norm.ppf((rankdata(values_N) - 0.5) / len(values_N))
    deviation = float(scores_N.std())
    return (scores_N - scores_N.mean()) / deviation if deviation > 0 else np.zeros(len(scores_N))


def label_counts(graph: ArchGraph, depth: int) -> np.ndarray:
    """counts_F, uint8, F = NUM_BUCKETS: the Weisfeiler-Lehman labels of all rounds, hashed.

    The label of a vertex is first its operation and then, `depth` times, its own with those of its
    predecessors; and the same once more with its successors. Not to be written in.
    """
    return _label_counts(*_content(graph), depth)


@lru_cache(maxsize=NUM_CACHED)
def _label_counts(operations: tuple[str, ...], adjacency: bytes, depth: int) -> np.ndarray:
    adjacency_VV = _matrix(adjacency)
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
    """Counts of vertices, edges and each label; degrees of input and output; the lengths of the
    longest and the shortest path, and how many paths there are (its logarithm)."""
    shape = _shape_statistics(*_content(graph))
    return [*shape, *(float(graph.labels.count(label)) for label in labels)]


@lru_cache(maxsize=NUM_CACHED)
def _shape_statistics(operations: tuple[str, ...], adjacency: bytes) -> tuple[float, ...]:
    adjacency_VV = _matrix(adjacency)
    longest, shortest, paths = [0.0], [0.0], [1.0]
    for into_V in adjacency_VV.T.tolist()[1:]:
        before = [source for source, arrow in enumerate(into_V) if arrow and paths[source] > 0]
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


def _content(graph: ArchGraph) -> tuple[tuple[str, ...], bytes]:
    """A graph as something that can be looked up."""
    return graph.labels, graph.adjacency_VV.tobytes()


def _matrix(adjacency: bytes) -> np.ndarray:
    """adjacency_VV from its bytes."""
    num_vertices = math.isqrt(len(adjacency))
    return np.frombuffer(adjacency, np.uint8).reshape(num_vertices, num_vertices)

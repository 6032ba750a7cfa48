"""Encode an architecture by its paths from input to output (the hard code of DCL-ENAS).

Deviation: operations that do nothing (skip connections, `none`) are left out of the paths, of which
the paper does not speak: so cells that compute the same have one code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Self, TypeAlias

import numpy as np

from nasrun.protocols.space import ArchGraph

NUM_CACHED = 2**16  # a search asks for the same architectures again and again
Path: TypeAlias = tuple[str, ...]
"""The operations that change something, in the order in which a signal meets them."""


def effective_paths(graph: ArchGraph) -> tuple[Path, ...]:
    """List all paths from input to output without the operations that do nothing.

    The shortest come first; paths of one length are sorted by name, which stands in for the
    path-id. A path through `none` carries nothing and is left out; `skip_connect` is left out of a
    path. Graphs with equal paths have equal hard codes, whatever the code's width.
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
    """Return what a vertex adds to a path; `None` ends the path.

    A label may begin with its cell's name.
    """
    operation = label.rpartition(":")[2]
    if operation == "none":
        return None
    return () if operation == "skip_connect" else (label,)


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
        self._codes: dict[tuple[Path, ...], np.ndarray] = {}  # codes computed so far

    @classmethod
    def fitting(cls, graphs: Sequence[ArchGraph]) -> Self:
        """Make the smallest code that holds all of the graphs."""
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
        """List the bits that are set among the S*O of one path, operations left-aligned."""
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
        """Give a bit to the paths that most graphs have; among equals, shorter ones come first."""
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


def _content(graph: ArchGraph) -> tuple[tuple[str, ...], bytes]:
    """Return a graph as something that can be looked up in a cache."""
    return graph.labels, graph.adjacency_VV.tobytes()


def _matrix(adjacency: bytes) -> np.ndarray:
    """Restore adjacency_VV from its bytes."""
    num_vertices = math.isqrt(len(adjacency))
    return np.frombuffer(adjacency, np.uint8).reshape(num_vertices, num_vertices)

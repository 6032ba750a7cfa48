"""Compute the graph hash of NAS-Bench-101, which is equal for isomorphic graphs.

Source: Ying et al., ICML 2019, arXiv 1902.09635, section 2.3. Labels count: vertices start from
their degrees and label and take in the hashes of their neighbours, once per vertex (Weisfeiler and
Lehman). The rows of the benchmark's table are ordered by this hash, so it must be the same to the
last byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import md5

INPUT, OUTPUT = -1, -2  # labels; those between are the indices of the operations

Pairs = tuple[tuple[int, int], ...]
"""The (source, target) of edges."""


def used_vertices(pairs: Iterable[tuple[int, int]], output: int) -> int:
    """Return the vertices on paths from vertex 0 to `output`, as a bit mask.

    Vertex 0 is the lowest bit; the mask is 0 where no path joins the two.
    """
    sources = [0] * (output + 1)
    for source, target in pairs:
        sources[target] |= 1 << source
    # forwards, what the input reaches; backwards, what the output needs
    reached, needed = 1, 1 << output
    for vertex in range(1, output + 1):
        if sources[vertex] & reached:
            reached |= 1 << vertex
    for vertex in range(output, 0, -1):
        if needed >> vertex & 1:
            needed |= sources[vertex]
    return reached & needed


def cell_hash(operations: Sequence[int], pairs: Pairs) -> str:
    """Hash a cell whose vertices between input and output have these operations.

    Vertices that are on no path from input to output are left out.
    """
    used = used_vertices(pairs, len(operations) + 1)
    labels = (INPUT, *operations, OUTPUT)
    vertices = [vertex for vertex in range(len(labels)) if used >> vertex & 1]
    rank = {vertex: position for position, vertex in enumerate(vertices)}
    kept = tuple((rank[s], rank[t]) for s, t in pairs if s in rank and t in rank)
    return graph_hash(tuple(labels[vertex] for vertex in vertices), kept)


@lru_cache(maxsize=2**16)  # searches ask for the same cells again and again
def graph_hash(labels: tuple[int, ...], pairs: Pairs) -> str:
    """Hash a graph; return 32 hexadecimal digits.

    `labels` has one whole number per vertex; nothing is left out.
    """
    sources: list[list[int]] = [[] for _ in labels]
    targets: list[list[int]] = [[] for _ in labels]
    for source, target in pairs:
        sources[target].append(source)
        targets[source].append(target)
    hashes = [
        _digest(str((len(targets[vertex]), len(sources[vertex]), label)))
        for vertex, label in enumerate(labels)
    ]
    for _ in labels:
        hashes = [
            _digest(f"{_joined(hashes, sources[v])}|{_joined(hashes, targets[v])}|{own}")
            for v, own in enumerate(hashes)
        ]
    return _digest(str(sorted(hashes)))


def _joined(hashes: Sequence[str], vertices: Sequence[int]) -> str:
    return "".join(sorted([hashes[vertex] for vertex in vertices]))


def _digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()

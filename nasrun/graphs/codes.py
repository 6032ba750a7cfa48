"""Encode architectures from their graphs alone: no space is known here by name.

The hard code is that of DCL-ENAS (arXiv 2512.20112): every path from input to output is written as
the operations along it, each a one-hot vector in a slot; the codes of all paths, sorted by length
and then by path-id, follow each other, and zeros fill up to the largest number of paths.

The code is not unique: it says which paths there are, and not which vertices they share. On
NAS-Bench-201 the 6,466 functions that cells can compute have 4,120 codes; 12,080 of 15,625 cells
have one that stands for several functions, whose accuracies are .50 points apart (median over the
codes, CIFAR-10). As `skip_connect` does nothing, it is no operation of a path; if it were one,
there would be 8,445 codes, and cells that compute the same would have different ones.

Shapes: N graphs, V vertices, L paths per code (L_seq), S slots per path, O operations, D bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np

from nasrun.graphs.kernels import LabelCode
from nasrun.graphs.paths import PathCode
from nasrun.protocols.space import ArchGraph


class Code(Protocol):
    """A code that turns graphs into vectors of one length."""

    num_bits: int

    def encode(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        """Return codes_ND, float32."""

    def state_dict(self) -> dict[str, Any]: ...


class AdjacencyCode:
    """The control of the ablation: each vertex one-hot, and the adjacency's upper triangle."""

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


def figures(graphs: Sequence[ArchGraph]) -> np.ndarray:
    """Return what is known of each graph besides it: figures_NF, float32."""
    return np.array([graph.figures for graph in graphs], np.float32).reshape(len(graphs), -1)


CodeName = Literal["paths", "labels", "adjacency"]
CODES: Mapping[str, type[PathCode] | type[LabelCode] | type[AdjacencyCode]] = {
    "paths": PathCode,
    "labels": LabelCode,
    "adjacency": AdjacencyCode,
}


def code_from_state(state: Mapping[str, Any]) -> Code:
    """Restore a code of any kind from its `state_dict`."""
    settings = {key: value for key, value in state.items() if key != "kind"}
    return CODES[state["kind"]](**settings)

"""Define `Genotype`: one architecture as a value, frozen and hashable, never evaluated.

A genotype is a tuple of cells; a cell is a directed acyclic graph with named nodes and labelled
edges. Spaces whose operations sit on edges (DARTS, NAS-Bench-201) label the edges; spaces whose
operations sit on nodes name the nodes and leave the edge labels empty. Node ids are positions in
`Cell.nodes`, in topological order: every edge goes from a lower to a higher id.

What a space allows (operations, number of edges) is the space's business: `space.validate`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nasrun.errors import UsageError, brief

MAX_CELLS, MAX_NODES, MAX_EDGES, MAX_NAME = 100, 200, 2_000, 100  # of a genotype, cell, cell, name


class Edge(NamedTuple):
    """`operation` applied to the state of node `source`, added to node `target`."""

    operation: str
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A named graph. `nodes` are labels; `edges` refer to nodes by position."""

    name: str
    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        for edge in self.edges:
            if not 0 <= edge.source < edge.target < len(self.nodes):
                raise UsageError(
                    f"cell '{self.name}' has an edge {brief(edge.source)} -> {brief(edge.target)}: "
                    f"edges go from a lower to a higher node, and nodes are 0 to "
                    f"{len(self.nodes) - 1}"
                )

    def edges_into(self, node: int) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.target == node)


@dataclass(frozen=True, slots=True)
class Genotype:
    """An architecture of the search space named `space`."""

    space: str
    cells: tuple[Cell, ...]

    def cell(self, name: str) -> Cell:
        for cell in self.cells:
            if cell.name == name:
                return cell
        names = ", ".join(cell.name for cell in self.cells) or "none"
        raise UsageError(f"the {self.space} genotype has no cell '{name}' (its cells: {names})")

    @property
    def short_id(self) -> str:
        """Return eight hexadecimal digits of the content, to tell genotypes apart in tables."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        cells = {
            cell.name: {"nodes": list(cell.nodes), "edges": [list(edge) for edge in cell.edges]}
            for cell in self.cells
        }
        return {"space": self.space, "cells": cells}

    @classmethod
    def from_json(cls, value: object) -> Genotype:
        """Read what `to_json` returns; raise `UsageError` for anything else."""
        if not isinstance(value, Mapping) or not isinstance(value.get("space"), str):
            raise UsageError('a genotype is an object with the keys "space" and "cells"')
        cells = value.get("cells")
        if not isinstance(cells, Mapping) or not cells:
            raise UsageError('the "cells" of a genotype are an object: name -> nodes and edges')
        if len(cells) > MAX_CELLS or len(value["space"]) > MAX_NAME:
            raise UsageError(
                f"a genotype has at most {MAX_CELLS} cells and {MAX_NAME} letters in the name of "
                f"its space, not {len(cells):,} and {len(value['space']):,}"
            )
        return cls(value["space"], tuple(_cell_from_json(name, cells[name]) for name in cells))


def _cell_from_json(name: object, value: object) -> Cell:
    problem = (
        f"cell '{str(name)[:MAX_NAME]}' needs \"nodes\", a list of names, and "
        '"edges", a list of [operation, source, target]'
    )
    if not isinstance(name, str) or not isinstance(value, Mapping):
        raise UsageError(problem)
    nodes, edges = value.get("nodes"), value.get("edges")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise UsageError(problem)
    if not isinstance(edges, list) or not all(_is_edge(edge) for edge in edges):
        raise UsageError(problem)
    if len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        raise UsageError(
            f"cell '{name[:MAX_NAME]}' has {len(nodes):,} nodes and {len(edges):,} edges; at most "
            f"{MAX_NODES} and {MAX_EDGES:,} are possible"
        )
    if max(map(len, [name, *nodes, *(edge[0] for edge in edges)])) > MAX_NAME:
        raise UsageError(f"cell '{name[:MAX_NAME]}' has a name of more than {MAX_NAME} letters")
    return Cell(name, tuple(nodes), tuple(Edge(*edge) for edge in edges))


def _is_edge(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(node, int) and not isinstance(node, bool) for node in value[1:])
    )

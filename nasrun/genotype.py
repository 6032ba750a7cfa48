"""`Genotype`: one architecture, as a value. Frozen, hashable, JSON in and out, never evaluated.

A genotype is a tuple of cells; a cell is a directed acyclic graph with named nodes and labelled
edges. Spaces whose operations sit on edges (DARTS, NAS-Bench-201) label the edges; spaces whose
operations sit on nodes name the nodes and leave the edge labels empty. Node ids are positions in
`Cell.nodes`, in topological order: every edge goes from a lower to a higher id.

What a space allows (operations, number of edges) is the space's business: `space.validate`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nasrun.errors import UsageError, brief

MAX_TEXT_LENGTH = 100_000  # no genotype is longer; a parser must not be fed gigabytes
MAX_CELLS, MAX_NODES, MAX_EDGES, MAX_NAME = 100, 200, 2_000, 100  # of a genotype, cell, cell, name

DARTS_NODES = ("c_{k-2}", "c_{k-1}", "0", "1", "2", "3", "c_{k}")
NASBENCH201_NODES = ("in", "1", "2", "out")


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
        """Eight hexadecimal digits of the content, to tell genotypes apart in tables."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        cells = {
            cell.name: {"nodes": list(cell.nodes), "edges": [list(edge) for edge in cell.edges]}
            for cell in self.cells
        }
        return {"space": self.space, "cells": cells}

    @classmethod
    def from_json(cls, value: object) -> Genotype:
        """The inverse of `to_json`; raises `UsageError` for anything else."""
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


def parse(text: str) -> Genotype:
    """A genotype from JSON, from the DARTS style `Genotype(normal=[...], ...)`, or from a
    NAS-Bench-201 string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Nothing is evaluated.
    """
    text = text.strip()
    if len(text) > MAX_TEXT_LENGTH:
        raise UsageError(
            f"a genotype has at most {MAX_TEXT_LENGTH:,} characters, not {len(text):,}"
        )
    if text.startswith("{"):
        try:
            return Genotype.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the genotype is not valid JSON: {error}") from None
    if text.startswith("|"):
        return _from_nasbench201_text(text)
    if text.startswith("Genotype("):
        return _from_darts_text(text)
    raise UsageError(
        f"'{text[:60]}' is not a genotype: expected JSON, Genotype(normal=[...], ...) "
        "or |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    )


def load(path: Path) -> Genotype:
    """The genotype in a text file; a `UsageError` names the file when there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_TEXT_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a genotype from {path}: {error}") from None
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


_NASBENCH201_EDGE = re.compile(r"([A-Za-z0-9_]+)~(\d)")


def _from_nasbench201_text(text: str) -> Genotype:
    edges = []
    for target, part in enumerate(text.split("+"), start=1):
        if not (part.startswith("|") and part.endswith("|")):
            raise UsageError(f"'{part[:60]}' is not a node of a NAS-Bench-201 string: |op~0|op~1|")
        for source, token in enumerate(part.strip("|").split("|")):
            match = _NASBENCH201_EDGE.fullmatch(token)
            if match is None or int(match[2]) != source:
                raise UsageError(f"'{token[:60]}' should be an operation and '~{source}'")
            edges.append(Edge(match[1], source, target))
    expected = [(source, target) for target in (1, 2, 3) for source in range(target)]
    if [(edge.source, edge.target) for edge in edges] != expected:
        raise UsageError("a NAS-Bench-201 string has three nodes with one, two and three edges")
    return Genotype("nasbench201", (Cell("cell", NASBENCH201_NODES, tuple(edges)),))


def nasbench201_text(genotype: Genotype) -> str:
    """The official NAS-Bench-201 string of a genotype of that space."""
    cell = genotype.cell("cell")
    parts = []
    for target in range(1, len(cell.nodes)):
        tokens = [f"{edge.operation}~{edge.source}" for edge in cell.edges_into(target)]
        parts.append("|" + "|".join(tokens) + "|")
    return "+".join(parts)


def _from_darts_text(text: str) -> Genotype:
    """`Genotype(normal=[('op', input), ...], normal_concat=[2, 3, 4, 5], reduce=..., ...)`."""
    problem = "expected Genotype(normal=[('operation', input), ...], reduce=[...])"
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise UsageError(f"this DARTS genotype is not understood: {problem}")
        fields = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        raise UsageError(f"this DARTS genotype is not understood: {problem}") from None
    allowed = {"normal", "normal_concat", "reduce", "reduce_concat"}
    if not {"normal", "reduce"} <= set(fields) or not set(fields) <= allowed:
        raise UsageError(f"a DARTS genotype has {', '.join(sorted(allowed))}: {problem}")
    return darts_genotype(
        {name: fields[name] for name in ("normal", "reduce")},
        {name: fields.get(f"{name}_concat", (2, 3, 4, 5)) for name in ("normal", "reduce")},
    )


def _literal(node: ast.expr) -> Any:
    """Literals, and the `range(2, 6)` that DARTS prints; a call of anything else is refused."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
            bounds = [ast.literal_eval(argument) for argument in node.args]
            if all(isinstance(bound, int) and abs(bound) < 100 for bound in bounds):
                return tuple(range(*bounds))
        raise ValueError("only literals and range(...) are read")
    return ast.literal_eval(node)


def darts_genotype(
    pairs: Mapping[str, Sequence[tuple[str, int]]],
    concat: Mapping[str, Sequence[int]] | None = None,
) -> Genotype:
    """A DARTS genotype from the usual lists of (operation, input state), two per node.

    `concat` names the states that form the cell's output (default: 2 to 5).
    """
    cells = []
    for name, cell_pairs in pairs.items():
        if not isinstance(cell_pairs, list | tuple) or len(cell_pairs) != 8:
            raise UsageError(f"cell '{name}' needs eight (operation, input) pairs, two per node")
        edges = []
        for position, pair in enumerate(cell_pairs):
            if (
                not isinstance(pair, list | tuple)
                or len(pair) != 2
                or not isinstance(pair[0], str)
                or not isinstance(pair[1], int)
            ):
                raise UsageError(f"cell '{name}': {brief(pair)} is not an (operation, input) pair")
            edges.append(Edge(pair[0], pair[1], 2 + position // 2))
        states = (2, 3, 4, 5) if concat is None else concat[name]
        if not isinstance(states, list | tuple) or not all(
            isinstance(state, int) and 2 <= state <= 5 for state in states
        ):
            raise UsageError(f"the concat of cell '{name}' is a list of states 2 to 5")
        edges += [Edge("concat", state, 6) for state in sorted(set(states))]
        cells.append(Cell(name, DARTS_NODES, tuple(edges)))
    return Genotype("darts", tuple(cells))


def darts_text(genotype: Genotype) -> str:
    """The DARTS style `Genotype(normal=[...], normal_concat=[...], ...)` of a genotype."""
    parts = []
    for cell in genotype.cells:
        pairs = [(edge.operation, edge.source) for edge in cell.edges if edge.target < 6]
        concat = [edge.source for edge in cell.edges_into(6)]
        parts += [f"{cell.name}={pairs}", f"{cell.name}_concat={concat}"]
    return f"Genotype({', '.join(parts)})"

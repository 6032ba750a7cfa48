"""State the facts of a DARTS cell, and read and write the text that DARTS code prints."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.errors import UsageError, brief
from nasrun.genotypes.genotype import Cell, Edge, Genotype

KNOWN_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CELLS = ("normal", "reduce")
STATES = ("c_{k-2}", "c_{k-1}", "0", "1", "2", "3", "c_{k}")  # the nodes of a cell, by their names
NODES = (2, 3, 4, 5)  # the states that are computed; 0 and 1 are the cell's inputs
OUTPUT = 6
EDGES = tuple((source, target) for target in NODES for source in range(target))  # of a supernet

TEXT_START = "Genotype("  # of what DARTS code prints


def reductions(num_cells: int) -> set[int]:
    """The positions of the `reduce` cells in a stack of cells; all others are `normal`."""
    return {num_cells // 3, 2 * num_cells // 3}


def parse(text: str) -> Genotype:
    """`Genotype(normal=[('op', input), ...], normal_concat=[2, 3, 4, 5], reduce=..., ...)`."""
    problem = "expected Genotype(normal=[('operation', input), ...], reduce=[...])"
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise UsageError(f"this DARTS genotype is not understood: {problem}")
        fields = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        raise UsageError(f"this DARTS genotype is not understood: {problem}") from None
    allowed = {*CELLS, *(f"{name}_concat" for name in CELLS)}
    if not set(CELLS) <= set(fields) or not set(fields) <= allowed:
        raise UsageError(f"a DARTS genotype has {', '.join(sorted(allowed))}: {problem}")
    return darts_genotype(
        {name: fields[name] for name in CELLS},
        {name: fields.get(f"{name}_concat", NODES) for name in CELLS},
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
        states = NODES if concat is None else concat[name]
        if not isinstance(states, list | tuple) or not all(
            isinstance(state, int) and state in NODES for state in states
        ):
            raise UsageError(f"the concat of cell '{name}' is a list of states 2 to 5")
        edges += [Edge("concat", state, OUTPUT) for state in sorted(set(states))]
        cells.append(Cell(name, STATES, tuple(edges)))
    return Genotype("darts", tuple(cells))


def darts_text(genotype: Genotype) -> str:
    """The DARTS style `Genotype(normal=[...], normal_concat=[...], ...)` of a genotype."""
    parts = []
    for cell in genotype.cells:
        pairs = [(edge.operation, edge.source) for edge in cell.edges if edge.target < OUTPUT]
        concat = [edge.source for edge in cell.edges_into(OUTPUT)]
        parts += [f"{cell.name}={pairs}", f"{cell.name}_concat={concat}"]
    return f"Genotype({', '.join(parts)})"

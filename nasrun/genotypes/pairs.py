"""Make cells from (operation, input state) pairs, as the codes of DARTS and NASNet write them.

States 0 and 1 are the outputs of the two cells before; a node adds up two operations, and is the
next state. Some of the nodes, side by side, are the output of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.errors import UsageError, brief
from nasrun.genotypes.genotype import Cell, Edge

NUM_INPUTS = 2
NUMBERS = {4: "eight", 5: "ten"}  # pairs of a cell, by the number of its nodes


def state_names(num_nodes: int) -> tuple[str, ...]:
    """Return the names of the inputs, the nodes and the output of a cell."""
    return ("c_{k-2}", "c_{k-1}", *map(str, range(num_nodes)), "c_{k}")


def nodes_of(cell: Cell) -> range:
    """Return the states that a cell computes."""
    return range(NUM_INPUTS, output_of(cell))


def output_of(cell: Cell) -> int:
    """Return the number of the output among the nodes of a cell."""
    return len(cell.nodes) - 1


def pair_cell(name: str, pairs: object, output: object, num_nodes: int) -> Cell:
    """Make a cell of two pairs per node.

    `output` lists the states that form its output; `None` takes all that no node reads.

    Raises:
        UsageError: they are no such pairs, or no such states.
    """
    if not isinstance(pairs, list | tuple) or len(pairs) != 2 * num_nodes:
        count = f"; it has {len(pairs)}" if isinstance(pairs, list | tuple) else ""
        raise UsageError(
            f"cell '{name}' needs {NUMBERS[num_nodes]} (operation, input) pairs, "
            f"two per node{count}"
        )
    edges = []
    for position, pair in enumerate(pairs):
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not isinstance(pair[0], str)
            or not isinstance(pair[1], int)
        ):
            raise UsageError(f"cell '{name}': {brief(pair)} is not an (operation, input) pair")
        edges.append(Edge(pair[0], pair[1], NUM_INPUTS + position // 2))
    last = NUM_INPUTS + num_nodes
    output = unread(edges, range(NUM_INPUTS, last)) if output is None else output
    if not isinstance(output, list | tuple | range) or not all(
        isinstance(state, int) and NUM_INPUTS <= state < last for state in output
    ):
        raise UsageError(
            f"the concat of cell '{name}' is a list of states {NUM_INPUTS} to {last - 1}"
        )
    edges += [Edge("concat", state, last) for state in sorted(set(output))]
    return Cell(name, state_names(num_nodes), tuple(edges))


def unread(edges: Sequence[Edge], nodes: Sequence[int]) -> list[int]:
    """List the nodes that no other node of a cell reads."""
    read = {edge.source for edge in edges if edge.operation != "concat"}
    return [node for node in nodes if node not in read]


def require_output(cell: Cell) -> None:
    """Raise a `UsageError` unless the output of a cell is formed by some of its nodes."""
    nodes, concat = nodes_of(cell), cell.edges_into(output_of(cell))
    sources = {edge.source for edge in concat if edge.operation == "concat"}
    if not sources or len(sources) != len(concat) or not sources <= set(nodes):
        raise UsageError(
            f"the output of cell '{cell.name}' must be formed by 'concat' edges from the "
            f"nodes {nodes[0]} to {nodes[-1]}; it has {[list(edge) for edge in concat]}"
        )

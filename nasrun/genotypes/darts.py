"""State the facts of a DARTS cell; read and write the fields of DARTS code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.errors import UsageError, brief
from nasrun.genotypes.cell1d import placed
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasnet import NUM_NODES, nasnet_genotype
from nasrun.genotypes.pairs import pair_cell, state_names

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
NODES = (2, 3, 4, 5)  # the states that are computed; 0 and 1 are the cell's inputs
STATES = state_names(len(NODES))  # the nodes of a cell, by their names
OUTPUT = 6
EDGES = tuple((source, target) for target in NODES for source in range(target))  # of a supernet

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat", "connectN", "connects")
"""The fields of the named tuple in public code, in its order; GDAS and SETN have the last two."""


def reductions(num_cells: int) -> set[int]:
    """Return the positions of the `reduce` cells in a stack of cells; all others are `normal`."""
    return {num_cells // 3, 2 * num_cells // 3}


def from_fields(fields: Mapping[str, Any], notes: list[str]) -> Genotype:
    """Return the genotype of the fields of a named tuple or a dictionary of public code.

    Cells of ten pairs are those of NASNet, which public code keeps beside its own.

    Args:
        fields: both cells, as a list of (operation, input) pairs or of pairs of pairs; or of
            (operation, node, input), as Fair-DARTS writes them, with any number of edges up to two
            per node. A third number that is a fraction is a weight, and is left out.
        notes: gets a sentence for all that was left out or filled in.

    Operations on signals make it a genotype of `space=cell1d_darts`.

    Raises:
        UsageError: it is no DARTS cell.
    """
    pairs, concat = dict[str, Any](), dict[str, Any]()
    for name in CELLS:
        listed = fields.get(name, fields.get("reduction") if name == "reduce" else None)
        if listed is None:
            raise UsageError(f"a DARTS genotype has {' and '.join(CELLS)}, and '{name}' is missing")
        states = fields.get(f"{name}_concat", fields.get("concat"))
        if name == "reduce":
            states = fields.get("reduction_concat", states)
        pairs[name], without_edges = _eight_pairs(name, _flat(name, listed), notes)
        concat[name] = NODES if states is None and without_edges else states
        if without_edges and isinstance(concat[name], list | tuple):
            concat[name] = [state for state in concat[name] if state not in without_edges]
    for name in ("connectN", "connects"):
        if fields.get(name) is not None:
            raise UsageError(f"{name}={brief(fields[name])} of a DARTS genotype must be None")
    if all(len(listed) == 2 * NUM_NODES for listed in pairs.values()):
        return nasnet_genotype(pairs, concat)
    return placed(darts_genotype(pairs, concat))


def _flat(name: str, listed: object) -> list[Any]:
    """List the edges of a cell, whether those of a node stand in a list of their own or not."""
    if not isinstance(listed, list | tuple):
        raise UsageError(f"cell '{name}' is a list of (operation, input) pairs")
    flat = list[Any]()
    for item in listed:
        of_a_node = isinstance(item, list | tuple) and all(
            isinstance(x, list | tuple) for x in item
        )
        if of_a_node and len(item) != 2:
            raise UsageError(f"cell '{name}' has {len(item)} edges at a node, and DARTS has two")
        flat += item if of_a_node else [item]
    return flat


def _eight_pairs(
    name: str, edges: list[Any], notes: list[str]
) -> tuple[list[tuple[str, int]], list[int]]:
    """Return the (operation, input) pairs of a cell, two per node, and the nodes without edges."""
    thirds = [edge[2] for edge in edges if isinstance(edge, list | tuple) and len(edge) == 3]
    if not thirds:
        return edges, []
    if any(isinstance(third, float) for third in thirds):
        notes.append(f"cell '{name}': the third number of each edge, its weight, is left out")
        return [tuple(edge[:2]) if isinstance(edge, list | tuple) else edge for edge in edges], []
    of_node: dict[int, list[tuple[str, int]]] = {node: [] for node in NODES}
    for edge in edges:
        target = _target(name, edge)
        of_node[target].append((edge[0], edge[1] + edge[2] - target))
    pairs = list[tuple[str, int]]()
    for node, found in of_node.items():
        if len(found) > 2:
            raise UsageError(
                f"node {node} of cell '{name}' has {len(found)} edges, and space=darts has two"
            )
        unused = sorted({*range(node)} - {source for _, source in found})
        pairs += [*found, *(("none", source) for source in unused[: 2 - len(found)])]
    if len(edges) < len(pairs):
        notes.append(
            f"cell '{name}' has {len(edges)} edges: 'none' stands for the others, and a node "
            "without an edge is no part of the output"
        )
    return pairs, [node for node, found in of_node.items() if not found]


def _target(name: str, edge: object) -> int:
    """Return the node of an (operation, node, input) triple: the later of the two."""
    if isinstance(edge, list | tuple) and len(edge) == 3 and isinstance(edge[0], str):
        numbers = edge[1:]
        if all(isinstance(number, int) for number in numbers) and max(numbers) in NODES:
            return max(numbers)
    raise UsageError(f"cell '{name}': {brief(edge)} is not an (operation, node, input) triple")


def darts_genotype(
    pairs: Mapping[str, Sequence[tuple[str, int]]],
    concat: Mapping[str, Sequence[int] | None] | None = None,
    space: str = "darts",
) -> Genotype:
    """Make a DARTS genotype from the usual lists of (operation, input state), two per node.

    `concat` names the states that form the cell's output (default: 2 to 5).
    """
    given = {} if concat is None else concat
    output = {name: NODES if given.get(name) is None else given[name] for name in pairs}
    return Genotype(
        space,
        tuple(pair_cell(name, listed, output[name], len(NODES)) for name, listed in pairs.items()),
    )

"""State the facts of a NAS-Bench-201 cell; read and write its official string."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nasrun.errors import UsageError
from nasrun.genotypes.cell1d import placed
from nasrun.genotypes.genotype import Cell, Edge, Genotype

NODES = ("in", "1", "2", "out")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in the text's order
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
NUM_STAGES = 3

_EDGE = re.compile(r"([A-Za-z0-9_]+)~(\d)")


def nasbench201_genotype(operations: Sequence[str]) -> Genotype:
    """Make a genotype from the operations of its edges, in the order of `EDGES`."""
    pairs = zip(operations, EDGES, strict=True)
    edges = tuple(Edge(operation, *edge) for operation, edge in pairs)
    return Genotype("nasbench201", (Cell("cell", NODES, edges),))


def parse(text: str) -> Genotype:
    """Read a genotype from `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    The operations may be any, and those on signals make it a cell of `space=cell1d`. Spaces do not
    matter, and the edges of a node may stand in any order.
    """
    edges = []
    for target, part in enumerate("".join(text.split()).split("+"), start=1):
        if not (part.startswith("|") and part.endswith("|")):
            raise UsageError(f"'{part[:60]}' is not a node of a NAS-Bench-201 string: |op~0|op~1|")
        for token in part.strip("|").split("|"):
            match = _EDGE.fullmatch(token)
            if match is None or int(match[2]) >= target:
                allowed = " or ".join(f"'~{source}'" for source in range(target))
                raise UsageError(f"'{token[:60]}' should be an operation and {allowed}")
            edges.append(Edge(match[1], int(match[2]), target))
    edges.sort(key=lambda edge: (edge.target, edge.source))
    if tuple((edge.source, edge.target) for edge in edges) != EDGES:
        raise UsageError(
            "a NAS-Bench-201 string has three nodes with one, two and three edges, one from each "
            "node before"
        )
    return placed(nasbench201_genotype([edge.operation for edge in edges]))


def nasbench201_text(genotype: Genotype) -> str:
    """Write the official NAS-Bench-201 string of a genotype with such a cell."""
    cell = genotype.cell("cell")
    parts = []
    for target in range(1, len(cell.nodes)):
        tokens = [f"{edge.operation}~{edge.source}" for edge in cell.edges_into(target)]
        parts.append("|" + "|".join(tokens) + "|")
    return "+".join(parts)

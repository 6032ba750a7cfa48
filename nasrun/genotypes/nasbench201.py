"""State the facts of a NAS-Bench-201 cell, and read and write its official string."""

from __future__ import annotations

import re

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Edge, Genotype

NASBENCH201_NODES = ("in", "1", "2", "out")

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


OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, target), in the text's order
NUM_STAGES = 3

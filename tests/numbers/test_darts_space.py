"""The DARTS space: genes, discretisation, canonical form and graph, by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from nasrun.errors import UsageError
from nasrun.genotypes.darts import EDGES, KNOWN_OPERATIONS, darts_genotype
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.spaces.darts import Darts

OPERATIONS = ["none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"]
SPACE = Darts(channels=8, cells=5, partial_channels=2, stem="cifar", operations=OPERATIONS)
PAIRS = [
    ("sep_conv_3x3", 1), ("skip_connect", 0),
    ("skip_connect", 0), ("skip_connect", 2),
    ("max_pool_3x3", 3), ("sep_conv_3x3", 1),
    ("skip_connect", 3), ("max_pool_3x3", 4),
]  # fmt: skip
GENOTYPE = darts_genotype({"normal": PAIRS, "reduce": PAIRS})


def test_size():
    # 1 * 3 * 6 * 10 pairs of inputs, 3 operations on 8 edges, two cells
    assert SPACE.size() == (180 * 3**8) ** 2
    names = list(KNOWN_OPERATIONS)
    large = Darts(channels=16, cells=8, partial_channels=4, stem="cifar", operations=names)
    assert f"{large.size():.2g}" == "1.1e+18"
    with pytest.raises(UsageError, match="at most 1,000,000 can be enumerated"):
        large.enumerate()


def test_genes_by_hand():
    # Operations: skip 0, sep 1, max 2; pairs of inputs in lexicographic order.
    cell = (0, 0, 1, 1, 0, 0, 4, 1, 2, 9, 0, 2)
    assert SPACE.cardinalities == 2 * (1, 3, 3, 3, 3, 3, 6, 3, 3, 10, 3, 3)
    assert SPACE.encode(GENOTYPE) == cell + cell
    assert SPACE.canonical(SPACE.decode(cell + cell)) == SPACE.canonical(GENOTYPE)


def test_canonical_form_ignores_the_order_of_the_inputs_of_a_node_only():
    swapped = [*PAIRS[1::-1], *PAIRS[2:]]
    other = [PAIRS[1], ("skip_connect", 1), *PAIRS[2:]]
    key = SPACE.canonical(GENOTYPE)
    assert SPACE.canonical(darts_genotype({"normal": swapped, "reduce": PAIRS})) == key
    assert SPACE.canonical(darts_genotype({"reduce": PAIRS, "normal": PAIRS})) == key
    assert SPACE.canonical(darts_genotype({"normal": other, "reduce": PAIRS})) != key


def weights_by_hand():
    """Strongest per edge: 0.1 everywhere on skip, but for the entries below."""
    weights_EO = torch.zeros(14, 4)
    weights_EO[:, 1] = 0.1
    return weights_EO


def test_discretise_by_hand():
    weights_EO = weights_by_hand()
    weights_EO[EDGES.index((2, 3)), 2] = 0.4
    weights_EO[EDGES.index((1, 3)), 0] = 0.9  # none does not count
    weights_EO[EDGES.index((3, 4)), 3] = 0.2
    weights_EO[EDGES.index((1, 4)), 2] = 0.3
    genotype = SPACE.discretise({"normal": weights_EO, "reduce": weights_by_hand()})
    assert [tuple(e) for e in genotype.cell("normal").edges if e.target < 6] == [
        ("skip_connect", 0, 2), ("skip_connect", 1, 2),
        ("skip_connect", 0, 3), ("sep_conv_3x3", 2, 3),
        ("sep_conv_3x3", 1, 4), ("max_pool_3x3", 3, 4),
        ("skip_connect", 0, 5), ("skip_connect", 1, 5),
    ]  # fmt: skip


def test_gates_multiply_the_weights_of_an_edge():
    weights = {"normal": weights_by_hand(), "reduce": weights_by_hand()}
    gates = {name: torch.ones(14) for name in weights}
    gates["normal"][EDGES.index((4, 5))] = 3.0
    gates["normal"][EDGES.index((2, 5))] = 2.0
    genotype = SPACE.discretise(weights, gates)
    assert [edge.source for edge in genotype.cell("normal").edges_into(5)] == [2, 4]
    assert [edge.source for edge in genotype.cell("reduce").edges_into(5)] == [0, 1]


def test_one_hot_by_hand():
    weights_EO = SPACE.one_hot(GENOTYPE)["normal"]
    expected = {(0, 2): 1, (1, 2): 2, (0, 3): 1, (2, 3): 1, (1, 4): 2, (3, 4): 3, (3, 5): 1,
                (4, 5): 3}  # fmt: skip
    rows = {EDGES[row]: int(column) for row, column in weights_EO.nonzero().tolist()}
    assert rows == expected
    gates_E = SPACE.one_hot_gates(GENOTYPE)["normal"]
    assert gates_E.tolist() == [float(edge in expected) for edge in EDGES]


def test_graph_by_hand():
    skips = [("skip_connect", 0), ("skip_connect", 1)] * 4
    chain = [("skip_connect", 0), ("skip_connect", 1), ("sep_conv_3x3", 1), ("max_pool_3x3", 2),
             *skips[:4]]  # fmt: skip
    genotype = darts_genotype({"normal": chain, "reduce": skips}, {"normal": [3], "reduce": [5]})
    graph = SPACE.graph(genotype)
    assert len(graph.labels) == 2 + 2 * (2 + 8)
    assert graph.labels[:7] == (
        "input", "normal:c_{k-2}", "normal:c_{k-1}", "normal:skip_connect", "normal:skip_connect",
        "normal:sep_conv_3x3", "normal:max_pool_3x3",
    )  # fmt: skip
    arrows = {tuple(arrow) for arrow in np.argwhere(graph.adjacency_VV).tolist()}
    assert {(0, 1), (0, 2), (1, 3), (2, 4), (2, 5), (3, 6), (4, 6)} <= arrows
    # The outputs: node 3 of the normal cell (vertices 5, 6), node 5 of the other (19, 20).
    assert {source for source, target in arrows if target == 21} == {5, 6, 19, 20}


def cell_with(*changes):
    """The edges of GENOTYPE's cells with some replaced: (position, edge or None)."""
    edges = list(GENOTYPE.cells[0].edges)
    for position, edge in changes:
        edges[position] = edge
    cell = Cell("normal", GENOTYPE.cells[0].nodes, tuple(edge for edge in edges if edge))
    return Genotype("darts", (cell, GENOTYPE.cells[1]))


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (cell_with((0, Edge("sep_conv_3x4", 1, 2))), "'sep_conv_3x4'.*did you mean sep_conv_3x3"),
        (cell_with((0, Edge("skip_connect", 0, 2))), "node 2 .* two different nodes"),
        (cell_with((3, None)), "node 3 of cell 'normal' needs two edges"),
        (cell_with((0, Edge("skip_connect", 0, 1))), "node 2 "),
        (cell_with((8, Edge("skip_connect", 2, 6))), "formed by 'concat' edges"),
        (cell_with((8, Edge("concat", 1, 6))), "formed by 'concat' edges"),
        (Genotype("darts", GENOTYPE.cells[:1]), "no cell 'reduce'"),
        (Genotype("darts", (*GENOTYPE.cells, GENOTYPE.cells[0])), "each once"),
        (Genotype("nasbench201", GENOTYPE.cells), "is of space 'nasbench201'"),
    ],
)
def test_wrong_genotypes_are_refused(genotype, message):
    with pytest.raises(UsageError, match=message):
        SPACE.validate(genotype)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operations": ["skip_conect"]}, "did you mean skip_connect"),
        ({"operations": ["none"]}, "not only none"),
        ({"operations": ["skip_connect", "skip_connect"]}, "different names"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(settings, message):
    defaults = {"channels": 8, "cells": 5, "partial_channels": 2, "stem": "cifar"}
    defaults["operations"] = OPERATIONS
    with pytest.raises(UsageError, match=message):
        Darts(**{**defaults, **settings})


@pytest.mark.parametrize("module", ["darts", "nasbench201"])
def test_genotypes_are_checked_without_torch(module):
    """`nasrun show` must answer at once."""
    code = f"import sys; sys.modules['torch'] = None; import nasrun.spaces.{module}"
    subprocess.run([sys.executable, "-c", code], check=True)

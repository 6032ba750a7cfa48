"""NAS-Bench-101 against hand-computed cells, slow oracles and the benchmark's own table."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.nasbench101 import OPERATIONS, PAIRS, vertex_widths
from nasrun.genotypes.nasbench101_hash import cell_hash, graph_hash, used_vertices
from nasrun.networks.nasbench101 import NasBench101Cell
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.nasbench101 import NUM_MATRICES, NasBench101, unlabelled_shapes
from nasrun.training.costs import measure

CIFAR10 = TaskShape(3, (32, 32), 10)
CONV3, CONV1, POOL = OPERATIONS


@pytest.fixture(scope="module")
def space():
    return NasBench101(channels=128, cells=3)


@pytest.fixture(scope="module")
def table():
    folder = os.environ.get("NASRUN_DATA")
    if not folder:
        pytest.skip("NASRUN_DATA does not name the folder with nasbench101.npz")
    with np.load(Path(folder) / "nasbench101.npz", allow_pickle=False) as file:
        return dict(file)


def make(operations, pairs):
    nodes = ("input", *operations, "output")
    edges = tuple(Edge("", *pair) for pair in pairs)
    return Genotype("nasbench101", (Cell("cell", nodes, edges),))


def table_row(table, row):
    """(operations, pairs) of a row."""
    bits, num_interior = int(table["adjacency_bits"][row]), int(table["n_vertices"][row]) - 2
    pairs = tuple(pair for i, pair in enumerate(PAIRS) if bits >> i & 1)
    return table["ops"][row, :num_interior].tolist(), pairs


# ---------------------------------------------------------------------------- the graph hash


def isomorphic_key(genotype):
    """The smallest way to write a cell's used part, over all orders of its vertices."""
    cell = genotype.cell("cell")
    last = len(cell.nodes) - 1
    used = reachable(cell, 0, 1) & reachable(cell, last, -1)
    edges = [(s, t) for _, s, t in cell.edges if s in used and t in used]
    interior = sorted(used - {0, last})
    return min(
        (
            tuple(cell.nodes[vertex] for vertex in order),
            tuple(sorted((rank[s], rank[t]) for s, t in edges)),
        )
        for order in itertools.permutations(interior)
        for rank in [{0: 0, last: 9} | {v: i for i, v in enumerate(order, start=1)}]
    )


def reachable(cell, start, direction):
    found, waiting = {start}, [start]
    while waiting:
        vertex = waiting.pop()
        for _, *ends in cell.edges:
            here, there = ends[::direction]
            if here == vertex and there not in found:
                found.add(there)
                waiting.append(there)
    return found


def test_canonical_form_tells_exactly_the_isomorphic_cells_apart(space):
    """Permutations decide for the oracle, hashes for the space. Small cells collide often."""
    rng = np.random.default_rng(0)
    genotypes = [make([POOL] * n, [(0, n + 1)]) for n in (0, 1)]
    while len(genotypes) < 400:
        genes = rng.integers(0, 2, len(PAIRS)) * (rng.random(len(PAIRS)) < 0.6)
        genes = [*genes.tolist(), *rng.integers(0, 2, 5).tolist()]
        if space.allows(genes):
            genotypes.append(space.decode(genes))
    by_hash, by_oracle = {}, {}
    for genotype in genotypes:
        by_hash.setdefault(space.canonical(genotype), set()).add(isomorphic_key(genotype))
        by_oracle.setdefault(isomorphic_key(genotype), set()).add(space.canonical(genotype))
    assert all(len(keys) == 1 for keys in by_hash.values())
    assert all(len(keys) == 1 for keys in by_oracle.values())
    assert len(by_hash) < 300 < len(genotypes)


def test_the_hash_of_the_smallest_cell_follows_the_definition():
    from hashlib import md5

    def digest(text):
        return md5(text.encode()).hexdigest()

    first, last = digest("(1, 0, -1)"), digest("(0, 1, -2)")
    for _ in range(2):
        first, last = digest(f"|{last}|{first}"), digest(f"{first}||{last}")
    expected = digest(str(sorted([first, last])))
    assert graph_hash((-1, -2), ((0, 1),)) == expected
    assert cell_hash([0, 1], ((0, 3), (0, 1), (2, 3))) == expected  # both vertices lead nowhere


def test_used_vertices_are_on_paths_from_input_to_output():
    assert used_vertices([(0, 1), (1, 3), (0, 2)], 3) == 0b1011  # 2 is a dead end
    assert used_vertices([(1, 2), (2, 3), (0, 3)], 3) == 0b1001  # 1 and 2 get no input
    assert used_vertices([(0, 1), (2, 3)], 3) == 0


def test_hashes_reproduce_the_order_of_the_rows(table):
    rows = np.sort(np.random.default_rng(0).choice(len(table["ops"]), 2000, replace=False))
    hashes = [cell_hash(*table_row(table, row)) for row in rows]
    assert all(first < second for first, second in itertools.pairwise(hashes))


@pytest.mark.slow
def test_hashes_reproduce_the_order_of_all_rows(table):
    assert len(table["ops"]) == 423_624
    hashes = (cell_hash(*table_row(table, row)) for row in range(423_624))
    assert all(first < second for first, second in itertools.pairwise(hashes))


# ---------------------------------------------------------------------------- the space


def test_all_matrices_that_hold_a_cell_are_counted(space):
    """Every matrix of 7 vertices as 21 bits, at once: the paths by bit masks, edges counted."""
    bits_M = np.arange(1 << 21, dtype=np.uint32)
    sources = [(bits_M >> (y * (y - 1) // 2)) & ((1 << y) - 1) for y in range(1, 7)]
    reached_M, needed_M = np.ones_like(bits_M), np.full_like(bits_M, 64)
    for y, sources_M in enumerate(sources, start=1):
        reached_M |= ((sources_M & reached_M) > 0).astype(np.uint32) << y
    for y in range(6, 0, -1):
        needed_M |= np.where(needed_M >> y & 1, sources[y - 1], 0).astype(np.uint32)
    used_M = reached_M & needed_M
    num_edges_M = np.zeros_like(bits_M)
    for i, (x, y) in enumerate(PAIRS):
        num_edges_M += (bits_M >> i) & (used_M >> x) & (used_M >> y) & 1
    assert ((num_edges_M >= 1) & (num_edges_M <= 9)).sum() == NUM_MATRICES
    assert space.size() == NUM_MATRICES * 3**5
    connected_M = (reached_M >> 6 & 1).astype(bool)
    few_M = sum((bits_M >> i & 1) for i in range(21)) <= 9
    assert (few_M.sum(), (few_M & connected_M).sum()) == (695_860, 573_494)  # fact sheet, D.3


def test_shapes_are_those_of_the_table(table):
    shapes, cumulative_M = unlabelled_shapes()
    graphs = np.unique(np.stack([table["n_vertices"], table["adjacency_bits"]]), axis=1)
    found = set()
    for num_vertices, bits in graphs.T.tolist():
        pairs = [pair for i, pair in enumerate(PAIRS) if bits >> i & 1]
        last = num_vertices - 1
        found.add(graph_hash((0,) * 7, tuple((s, 6 if t == last else t) for s, t in pairs)))
    assert found == {graph_hash((0,) * 7, pairs) for pairs in shapes}
    assert cumulative_M[-1] == 1.0


def test_samples_are_spread_as_the_cells_of_the_table(space, table):
    """The shares of cells of 6 and of 7 vertices: .146 and .848 in the table."""
    rng = np.random.default_rng(0)
    cells = [space.pruned(space.sample(rng)).cell("cell") for _ in range(3000)]
    shares = np.bincount([len(cell.nodes) for cell in cells], minlength=8) / 3000
    expected = np.bincount(table["n_vertices"]) / len(table["ops"])
    np.testing.assert_allclose(shares, expected, atol=0.02)
    operations = [name for cell in cells for name in cell.nodes[1:-1]]
    assert operations.count(POOL) / len(operations) == pytest.approx(1 / 3, abs=0.02)


def test_pruning_keeps_what_is_on_a_path(space):
    genotype = make([CONV3, CONV1, POOL], [(0, 1), (1, 4), (0, 2), (3, 4), (2, 3), (0, 4)])
    assert space.pruned(genotype).cells == genotype.cells
    dead_end = make([CONV3, CONV1, POOL], [(0, 3), (3, 4), (0, 2), (1, 4)])
    assert space.pruned(dead_end) == make([POOL], [(0, 1), (1, 2)])
    assert space.canonical(dead_end) == space.canonical(make([POOL], [(0, 1), (1, 2)]))
    graph = space.graph(dead_end)
    assert graph.labels == ("input", POOL, "output")
    assert graph.adjacency_VV.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_a_small_cell_is_written_with_seven_vertices(space):
    genes = space.encode(make([POOL], [(0, 1), (1, 2), (0, 2)]))
    assert [PAIRS[i] for i in range(21) if genes[i]] == [(0, 1), (0, 6), (1, 6)]
    assert genes[21:] == (2, 0, 0, 0, 0)


def test_a_child_has_each_row_from_a_parent(space):
    rng = np.random.default_rng(0)
    for _ in range(50):
        parents = [space.encode(space.sample(rng)) for _ in range(2)]
        child = space.encode(space.crossover(*map(space.decode, parents), rng))
        for source in range(6):
            row = [i for i, pair in enumerate(PAIRS) if pair[0] == source]
            assert [child[i] for i in row] in [[parent[i] for i in row] for parent in parents]


def test_edge_moves_take_one_edge_elsewhere(space):
    chain = make([CONV3] * 5, [(0, 1), (1, 6)])
    moves = {
        tuple((edge.source, edge.target) for edge in other.cell("cell").edges)
        for other in space.edge_moves(chain)
    }
    # Without one of the two edges there is no path but by (0, 6).
    assert moves == {((0, 1), (0, 6)), ((0, 6), (1, 6))}
    full = make([CONV3] * 5, [(i, i + 1) for i in range(6)] + [(0, 2), (0, 3), (0, 4)])
    moves = space.edge_moves(full)
    assert len(moves) == len(set(moves)) > 20
    for other in moves:
        space.validate(other)
        assert len(other.cell("cell").edges) == 9
        assert len(set(other.cell("cell").edges) - set(full.cell("cell").edges)) == 1


def test_points_outside_the_space_are_moved_into_it(space):
    direct = space.from_vector(np.zeros(26)).cell("cell")
    assert [edge[1:] for edge in direct.edges] == [(0, 6)]
    vector_D = np.linspace(0.6, 0.8, 26)  # all 21 edges; the weak ones, early in the order, go
    cell = space.from_vector(vector_D).cell("cell")
    pairs = {edge[1:] for edge in cell.edges}
    assert pairs >= {(4, 6), (5, 6), (0, 6)}
    assert len(space.pruned(space.from_vector(vector_D)).cell("cell").edges) <= 9


@pytest.mark.parametrize(
    ("operations", "pairs", "sentence"),
    [
        (["conv3x3"], [(0, 1), (1, 2)], "has the operation 'conv3x3', which .* did you mean"),
        ([CONV3], [(0, 1)], "1 to 9 edges on paths .* this one has 0"),
        ([CONV3] * 6, [(0, 7)], "2 to 7 vertices"),
        ([CONV3], [(0, 2), (0, 2)], "bear no operation, and differ"),
        ([CONV3] * 5, [(s, t) for s, t in PAIRS if t in (1, 2, 3, 6)], "this one has 10"),
    ],
)
def test_what_is_no_cell_is_refused(space, operations, pairs, sentence):
    with pytest.raises(UsageError, match=sentence):
        space.validate(make(operations, pairs))


def test_sizes_and_stems_that_do_not_fit_are_refused(space):
    with pytest.raises(UsageError, match=r"retrain.stem=imagenet"):
        space.network(make([], [(0, 1)]), CIFAR10, NetworkSize(stem="imagenet"))


# ---------------------------------------------------------------------------- the network


def test_widths_follow_the_channel_rule():
    """Three vertices share 128 channels; vertex 1 feeds the widest of 2 and 3."""
    pairs = [(0, 1), (1, 2), (1, 3), (2, 5), (3, 5), (0, 4), (4, 5)]
    cell = make([CONV3] * 4, pairs).cell("cell")
    assert vertex_widths(cell, 64, 128) == [64, 43, 43, 43, 42, 128]
    chain = make([CONV3] * 2, [(0, 1), (1, 2), (2, 3), (0, 3)]).cell("cell")
    assert vertex_widths(chain, 64, 128) == [64, 128, 128, 128]
    assert vertex_widths(make([], [(0, 1)]).cell("cell"), 64, 128) == [64, 128]


def test_a_cell_projects_pools_concatenates_and_adds():
    """Weights of 1, no bias: a constant image of value 1 can be followed by hand."""
    cell = make([POOL, CONV1], [(0, 1), (1, 2), (0, 2), (1, 3), (2, 3), (0, 3)]).cell("cell")
    module = NasBench101Cell(cell, channels_in=1, channels=3).eval()
    for parameter in module.parameters():
        torch.nn.init.ones_(parameter)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(layer.bias)
            layer.eps = 0.0
    # Vertex 1: 2 channels, projected 1, pooled 1. Vertex 2: 1 channel, the first of vertex 1 and
    # the projected input, 2. The output: 1, 1, 2 and the projected input.
    output_BCHW = module(torch.ones(1, 1, 4, 4), 0.0)
    assert output_BCHW.mean((0, 2, 3)).tolist() == [2.0, 2.0, 3.0]


def test_parameters_equal_the_table(space, table):
    """2,000 random cells by the analytic count, 3 of them by the network itself."""
    rows = np.random.default_rng(1).choice(len(table["ops"]), 2000, replace=False)
    for position, row in enumerate(rows):
        operations, pairs = table_row(table, row)
        genotype = make([OPERATIONS[i] for i in operations], pairs)
        params, flops = space.params_and_flops(genotype, CIFAR10, NetworkSize())
        assert params == table["params"][row]
        if position < 3:
            with torch.device("meta"):
                network = space.network(genotype, CIFAR10, NetworkSize())
            assert measure(network, CIFAR10) == (params, flops)


def test_costs_of_small_networks_are_those_measured():
    space, shape = NasBench101(channels=7, cells=2), TaskShape(1, (9, 9), 4)
    rng = np.random.default_rng(0)
    for _ in range(4):
        genotype = space.sample(rng)
        network = space.network(genotype, shape, NetworkSize())
        assert measure(network, shape) == space.params_and_flops(genotype, shape, NetworkSize())

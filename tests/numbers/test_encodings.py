"""The hard path code against codes written by hand, and its known number of classes."""

from __future__ import annotations

import numpy as np
import pytest

from nasrun.config import plugins
from nasrun.genotypes.text import parse
from nasrun.graphs.codes import AdjacencyCode, code_from_state
from nasrun.graphs.kernels import NUM_BUCKETS, LabelCode, label_counts, statistics
from nasrun.graphs.paths import PathBits, PathCode, effective_paths
from nasrun.predictors.targets import normal_scores, standardised_ranks
from nasrun.protocols.space import ArchGraph
from nasrun.spaces.nasbench201 import NasBench201
from tests.compose import node

CONV1, CONV3, POOL = "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return plugins.build(node("space", "nasbench201"))


def graph_of(space: NasBench201, *operations: str) -> ArchGraph:
    """Operations in the order of the official text."""
    a, b, c, d, e, f = operations
    return space.graph(parse(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"))


def chain(*labels: str) -> ArchGraph:
    size = len(labels) + 2
    return ArchGraph(("input", *labels, "output"), np.eye(size, k=1, dtype=np.uint8))


def test_paths_of_a_cell_by_hand(space: NasBench201) -> None:
    graph = graph_of(space, CONV3, POOL, "skip_connect", "skip_connect", "none", CONV1)
    # 0-3 does nothing; 0-1-3 is cut; 0-2-3 pools first; 0-1-2-3 has a skip in the middle.
    assert effective_paths(graph) == ((), (POOL, CONV1), (CONV3, CONV1))


def test_none_and_skip_vertices_in_a_graph_of_nodes_and_with_cell_names() -> None:
    assert effective_paths(chain("a", "none", "b")) == ()
    assert effective_paths(chain("normal:a", "normal:skip_connect", "reduce:b")) == (
        ("normal:a", "reduce:b"),
    )


def test_path_code_bit_by_bit(space: NasBench201) -> None:
    code = PathCode((POOL, CONV1, CONV3), num_paths=4, num_slots=3)
    graph = graph_of(space, CONV3, POOL, "skip_connect", "skip_connect", "none", CONV1)
    (bits_D,) = code.encode([graph])
    # Each path: presence, then three slots of (pool, 1x1, 3x3).
    expected = "1000000000" + "1100010000" + "1001010000" + "0000000000"
    assert "".join(str(int(bit)) for bit in bits_D) == expected
    assert code.num_bits == 40


def test_nasbench201_has_4120_hard_codes_of_40_bits(space: NasBench201) -> None:
    graphs = [space.graph(genotype) for genotype in space.enumerate()]
    code = PathCode.fitting(graphs)
    assert (code.num_paths, code.num_slots, code.operations) == (4, 3, (POOL, CONV1, CONV3))
    codes_ND = code.encode(graphs)
    assert len(np.unique(np.packbits(codes_ND.astype(bool), axis=1), axis=0)) == 4120
    assert len({effective_paths(graph) for graph in graphs}) == 4120
    lengths = [len(path) for path in PathBits.frequent(graphs, 100).paths]
    assert np.bincount(lengths).tolist() == [1, 3, 9, 27]
    assert lengths[4:] == 9 * [2] + 27 * [3]  # longer ones are rarer


def test_what_does_not_fit_is_cut() -> None:
    code = PathCode(("a",), num_paths=1, num_slots=2)
    assert code.encode([chain("a", "new", "a"), chain("a", "a", "a")]).tolist() == [
        [1.0, 1.0, 0.0],
        [1.0, 1.0, 1.0],
    ]


def test_path_bits_by_hand() -> None:
    # Of the paths, "a" is in three graphs, the empty one and "b" in two, "a b" in one.
    code = PathBits.frequent(
        [
            chain("a"),
            chain("a"),
            chain("a"),
            chain("b"),
            chain("b"),
            chain(),
            chain(),
            chain("a", "b"),
        ],
        num_paths=3,
    )
    assert code.paths == (("a",), (), ("b",))
    # input -> a -> b -> output with shortcuts around a and around b: "a b" has no bit.
    adjacency_VV = np.triu(np.ones((4, 4), dtype=np.uint8), k=1)
    adjacency_VV[0, 3] = 0
    graphs = [ArchGraph(("input", "a", "b", "output"), adjacency_VV), chain(), chain("none")]
    assert code.encode(graphs).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_adjacency_code_by_hand() -> None:
    graphs = [chain("b"), chain()]
    code = AdjacencyCode.fitting(graphs)
    assert code.operations == ("b", "input", "output")
    # Vertices (b, input, output) each, then the pairs 0-1, 0-2, 1-2.
    assert code.encode(graphs).tolist() == [
        [0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1],
        [0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
    ]


@pytest.mark.parametrize("kind", [PathCode, AdjacencyCode])
def test_a_code_survives_its_state(kind: type[PathCode], space: NasBench201) -> None:
    rng = np.random.default_rng(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(20)]
    code = kind.fitting(graphs)
    assert (code_from_state(code.state_dict()).encode(graphs) == code.encode(graphs)).all()


def test_path_bits_survive_their_state(space: NasBench201) -> None:
    rng = np.random.default_rng(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(20)]
    code = PathBits.frequent(graphs, 10)
    again = PathBits(**code.state_dict())
    assert (again.paths, again.num_bits) == (code.paths, 10)


def test_standardised_ranks_share_ties_and_bear_failures() -> None:
    ranks_N = standardised_ranks(np.array([-np.inf, 0.5, 0.9, 0.5]))
    assert ranks_N == pytest.approx(np.array([-1.5, 0.0, 1.5, 0.0]) / np.sqrt(4.5 / 4))
    assert standardised_ranks(np.array([0.5, 0.5])).tolist() == [0.0, 0.0]


# ---------------------------------------------------------------------------- graph labels


def graph_from(labels: str, *arrows: tuple[int, int]) -> ArchGraph:
    """`labels` has one letter per inner vertex."""
    names = ("input", *labels, "output")
    adjacency_VV = np.zeros((len(names), len(names)), dtype=np.uint8)
    for source, target in arrows:
        adjacency_VV[source, target] = 1
    return ArchGraph(names, adjacency_VV)


def test_graph_features_by_hand() -> None:
    graph = graph_from("ab", (0, 1), (1, 2), (0, 2), (2, 3))
    # vertices, edges, out of the input, into the output, longest, shortest, paths, a, c
    expected = [4, 4, 2, 1, 3, 2, np.log(3), 1, 0]
    assert statistics(graph, ["a", "c"]) == pytest.approx(expected)
    assert label_counts(graph, 0).sum() == 4
    assert label_counts(graph, 2).sum() == 4 + 2 * 2 * 4  # two rounds in both directions
    swapped = graph_from("ba", (0, 1), (1, 2), (0, 2), (2, 3))
    assert (label_counts(graph, 0) == label_counts(swapped, 0)).all()
    assert (label_counts(graph, 1) != label_counts(swapped, 1)).any()


def test_labels_do_not_depend_on_the_order_of_vertices_and_know_direction() -> None:
    graph = graph_from("ab", (0, 1), (0, 2), (1, 3), (2, 3))
    other = graph_from("ba", (0, 1), (0, 2), (1, 3), (2, 3))
    assert (label_counts(graph, 2) == label_counts(other, 2)).all()
    # Of its predecessors alone, vertex `a` cannot tell these two apart; of its successors it can.
    short, long = graph_from("a", (0, 1), (1, 2)), graph_from("ab", (0, 1), (1, 2), (2, 3))
    shared = np.minimum(label_counts(short, 1), label_counts(long, 1)).sum()
    # input, a, output; input and a by their predecessors; input and output by their successors
    assert shared == 3 + 2 + 2


def test_label_code_standardises_statistics_and_survives_its_state() -> None:
    graphs = [graph_from("a", (0, 1), (1, 2)), graph_from("ab", (0, 1), (1, 2), (2, 3))]
    graphs.append(graph_from("bb", (0, 1), (0, 2), (1, 3), (2, 3)))
    code = LabelCode.fitting(graphs)
    codes_ND = code.encode(graphs)
    assert codes_ND.shape == (3, code.num_bits)
    assert codes_ND.dtype == np.float32
    expected = np.sqrt(label_counts(graphs[2], 1).astype(float))
    np.testing.assert_allclose(codes_ND[2, :NUM_BUCKETS], expected, rtol=1e-6)
    means, deviations = (
        codes_ND[:, NUM_BUCKETS:].mean(axis=0),
        codes_ND[:, NUM_BUCKETS:].std(axis=0),
    )
    np.testing.assert_allclose(means, 0.0, atol=1e-6)
    assert set(np.round(deviations, 5).tolist()) <= {0.0, 1.0}  # 0: equal in all three
    again = code_from_state(code.state_dict())
    np.testing.assert_array_equal(again.encode(graphs), codes_ND)


def test_normal_scores_by_hand() -> None:
    # Quantiles at 1/8, 3/8, 5/8, 7/8: -1.15035, -0.31864, ..., and their deviation 0.84407.
    scores = normal_scores(np.array([3.0, -np.inf, 5.0, 4.0]))
    np.testing.assert_allclose(scores, [-0.37750, -1.36286, 1.36286, 0.37750], atol=1e-4)
    assert normal_scores(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]

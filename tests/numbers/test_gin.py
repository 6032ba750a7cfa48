"""The graph isomorphism network against numbers worked out by hand and a dense, slow version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from nasrun.config import plugins
from nasrun.graphs.one_edit_pairs import OneEditPairs
from nasrun.graphs.paths import effective_paths
from nasrun.predictors.gin import GIN, Layer, Network, united
from nasrun.protocols.space import ArchGraph
from nasrun.spaces.nasbench201 import NasBench201
from tests.compose import node

OPERATIONS = ["a", "b", "input", "output"]


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return plugins.build(node("space", "nasbench201"))


def graph(labels: tuple[str, ...], *arrows: tuple[int, int]) -> ArchGraph:
    adjacency_VV = np.zeros((len(labels), len(labels)), dtype=np.uint8)
    for source, target in arrows:
        adjacency_VV[source, target] = 1
    return ArchGraph(labels, adjacency_VV)


TRIANGLE = graph(("input", "a", "output"), (0, 1), (0, 2), (1, 2))


def test_graphs_of_any_size_stand_side_by_side() -> None:
    union = united([TRIANGLE, graph(("input", "new", "b", "output"), (0, 2), (2, 3))], OPERATIONS)
    assert union.operations_VO.argmax(dim=1).tolist() == [2, 0, 3, 2, 0, 1, 3]
    assert union.operations_VO.sum(dim=1).tolist() == [1, 1, 1, 1, 0, 1, 1]  # "new" is unknown
    assert union.sources_A.tolist() == [0, 0, 1, 3, 5]
    assert union.targets_A.tolist() == [1, 2, 2, 5, 6]
    assert union.graph_of_V.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert union.sizes_N.tolist() == [3, 4]


@torch.no_grad()
def test_a_layer_by_hand() -> None:
    layer = Layer(4, 1).eval()
    first, second = layer.mlp[0], layer.mlp[2]
    first.weight.copy_(torch.tensor([[1.0, 9.0, 2.0, 3.0]]))
    first.bias.fill_(-2.5)
    second.weight.fill_(2.0)
    second.bias.fill_(-2.0)
    layer.norm.running_mean.fill_(1.0)
    layer.norm.running_var.fill_(4.0)
    layer.norm.weight.fill_(3.0)
    layer.norm.bias.fill_(0.5)
    union = united([TRIANGLE], OPERATIONS)
    # Sums: the input alone, 2; a and input, 3; output, a and input, 6. Then 2 ReLU(x - 2.5) - 2,
    # again cut at zero: 0, 0, 5; and 3 (x - 1) / 2 + 0.5.
    expected = pytest.approx([-1.0, -1.0, 6.5], abs=1e-4)
    assert layer(union.operations_VO, union).squeeze(1).tolist() == expected


def randomised() -> Network:
    """With statistics that a training may leave."""
    network = Network(4, 5, 3).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network


def dense(network: Network, one: ArchGraph) -> Tensor:
    """The score of one graph, with its adjacency as a matrix."""
    codes = torch.tensor([OPERATIONS.index(label) for label in one.labels])
    features_VF = nn.functional.one_hot(codes, len(OPERATIONS)).double()
    hears_VV = torch.from_numpy(one.adjacency_VV.T + np.eye(len(codes)))
    for layer in network.layers:
        features_VF = layer.norm(layer.mlp(hears_VV @ features_VF))
    return network.head(features_VF.mean(dim=0))


@torch.no_grad()
def test_the_network_is_its_dense_version_for_each_graph_alone() -> None:
    torch.manual_seed(0)
    network = randomised()
    others = graph(("input", "a", "b", "b", "output"), (0, 1), (1, 4), (0, 2), (2, 3), (3, 4))
    graphs = [TRIANGLE, others, graph(("input", "output"))]
    union = united(graphs, OPERATIONS)
    union = union._replace(operations_VO=union.operations_VO.double())
    expected_N = torch.cat([dense(network, one) for one in graphs])
    torch.testing.assert_close(network(union), expected_N)


@torch.no_grad()
def test_the_order_of_the_vertices_does_not_matter() -> None:
    arrows = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 4), (3, 4)]
    moved = [0, 3, 1, 2, 4]  # vertex v is now called moved[v]
    labels = ("input", "a", "b", "a", "output")
    renamed = [labels[moved.index(v)] for v in range(5)]
    permuted = graph(tuple(renamed), *[(moved[s], moved[t]) for s, t in arrows])
    swapped = graph(("input", "b", "a", "a", "output"), *arrows)  # another network
    torch.manual_seed(0)
    union = united([graph(labels, *arrows), permuted, swapped], OPERATIONS)
    union = union._replace(operations_VO=union.operations_VO.double())
    first, same, other = randomised()(union).tolist()
    assert same == pytest.approx(first, abs=1e-12)
    assert abs(other - first) > 1e-6


def convolutions(one: ArchGraph) -> float:
    """On all paths from input to output; 3x3 ones count more."""
    worth = {"nor_conv_3x3": 1.0, "nor_conv_1x1": 0.6}
    return sum(worth.get(name, 0.0) for path in effective_paths(one) for name in path)


@pytest.mark.parametrize("name", ["gin", "path_mlp"])
def test_convolutions_on_paths_are_learnt_from_50_cells(name: str, space: NasBench201) -> None:
    rng = np.random.default_rng(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(250)]
    values_N = np.array([convolutions(one) for one in graphs])
    predictor = plugins.build(node("predictor", name), torch.Generator().manual_seed(0))
    predictor.pretrain(OneEditPairs(space), lambda *_, **__: None)
    predictor.fit(graphs[:50], values_N[:50])
    prediction = predictor.score(graphs[50:])
    assert kendalltau(prediction.score_N, values_N[50:]).statistic > 0.65


def test_operations_are_those_of_the_whole_space_and_survive_the_state(space: NasBench201) -> None:
    first, second = (plugins.build(node("predictor", "gin"), torch.Generator()) for _ in range(2))
    assert isinstance(first, GIN)
    first.pretrain(OneEditPairs(space), lambda *_, **__: None)
    second.load_state_dict(first.state_dict())
    names = ["avg_pool_3x3", "input", "nor_conv_1x1", "nor_conv_3x3", "output", "skip_connect"]
    assert first.operations == second.operations == names  # an edge with none is no vertex

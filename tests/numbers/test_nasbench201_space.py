"""NAS-Bench-201: against the benchmark's own table, and the supernet against its oracle."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.errors import UsageError
from nasrun.genotypes.nasbench201 import EDGES, OPERATIONS
from nasrun.genotypes.text import parse
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, NetworkSize
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.training.costs import measure
from tests.oracles.nasbench201_edge_major import EdgeMajorSupernet

CIFAR10 = TaskShape(3, (32, 32), 10)
CIFAR100 = TaskShape(3, (32, 32), 100)
SPACE = NasBench201(channels=16, cells=5, partial_channels=1)
RESNET_LIKE = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture(scope="module")
def table():
    folder = os.environ.get("NASRUN_DATA")
    if not folder:
        pytest.skip("NASRUN_DATA does not name the folder with nasbench201.npz")
    with np.load(Path(folder) / "nasbench201.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def genotypes():
    return list(SPACE.enumerate())


def row_of(table):
    """Genes -> row of the table."""
    return {tuple(genes): row for row, genes in enumerate(table["ops"].tolist())}


def test_size_and_enumeration(genotypes):
    assert SPACE.size() == len(set(genotypes)) == 15_625


def test_the_text_of_the_benchmark_is_the_genotype(table):
    for row in range(0, 15_625, 625):
        genotype = parse(table["arch_str"][row].decode())
        assert SPACE.encode(genotype) == tuple(table["ops"][row])


def test_canonical_form_gives_the_isomorphism_classes_of_the_benchmark(table, genotypes):
    rows = row_of(table)
    classes = [int(table["isomorphism_class"][rows[SPACE.encode(g)]]) for g in genotypes]
    keys = [SPACE.canonical(genotype) for genotype in genotypes]
    assert len(set(keys)) == 6_466
    assert len(set(zip(keys, classes, strict=True))) == len(set(classes)) == 6_466


def test_canonical_form_by_hand():
    def key(text):
        return SPACE.canonical(parse(text))

    assert key("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|") == "#+#+0"
    first = "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
    second = "|none~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|skip_connect~2|"
    assert key(first) == key(second) == "#+#+#+(0)@nor_conv_1x1"


@pytest.mark.parametrize(("dataset", "shape"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
def test_costs_equal_the_table_for_all_cells(table, genotypes, dataset, shape):
    rows = row_of(table)
    order = [rows[SPACE.encode(genotype)] for genotype in genotypes]
    costs = [SPACE.params_and_flops(g, shape, NetworkSize()) for g in genotypes]
    expected_N2 = np.stack([table[f"params_{dataset}"], table[f"flops_{dataset}"]], axis=1)[order]
    np.testing.assert_array_equal(np.array(costs), expected_N2)


def test_costs_equal_the_measured_network():
    rng = np.random.default_rng(0)
    for shape in (TaskShape(1, (8, 8), 10), TaskShape(3, (25, 17), 7)):
        for _ in range(3):
            genotype = SPACE.sample(rng)
            size = NetworkSize(channels=int(rng.integers(1, 9)), cells=int(rng.integers(1, 4)))
            parameters, flops = measure(SPACE.network(genotype, shape, size), shape)
            # torch's counter does not count the classifier's bias; the table does.
            expected = (parameters, flops + shape.num_classes)
            assert SPACE.params_and_flops(genotype, shape, size) == expected


def test_costs_by_hand():
    # 3x3 edges only: 2 of 6. Stem 432 + 32; stages 5 * 2 * (9 C^2 + 2 C) with C = 16, 32, 64;
    # residual blocks 14,464 and 57,600; last norm 128, classifier 650.
    parameters, _ = SPACE.params_and_flops(parse(RESNET_LIKE), CIFAR10, NetworkSize())
    stages = sum(5 * 2 * (9 * c * c + 2 * c) for c in (16, 32, 64))
    assert parameters == 464 + stages + 14_464 + 57_600 + 128 + 650


def test_discretise_takes_the_strongest_operation_and_the_first_of_equals():
    weights_EO = torch.zeros(6, 5)
    weights_EO[0, 3], weights_EO[1, 0], weights_EO[1, 4], weights_EO[2, 4] = 0.2, 0.9, 0.8, 0.1
    genotype = SPACE.discretise({"cell": weights_EO})
    assert SPACE.encode(genotype) == (3, 0, 4, 0, 0, 0)


def test_graph_by_hand():
    graph = SPACE.graph(parse(RESNET_LIKE))
    assert graph.labels == ("input", "nor_conv_3x3", "nor_conv_3x3", "skip_connect", "output")
    arrows = [tuple(arrow) for arrow in np.argwhere(graph.adjacency_VV)]
    assert arrows == [(0, 1), (0, 3), (1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RESNET_LIKE.replace("nor_conv_3x3~0", "nor_conv_5x5~0"), "did you mean nor_conv_"),
        ("Genotype(normal=" + repr([("skip_connect", 0), ("skip_connect", 1)] * 4)
         + ", reduce=" + repr([("skip_connect", 0), ("skip_connect", 1)] * 4) + ")",
         "is of space 'darts'"),
    ],
)  # fmt: skip
def test_wrong_genotypes_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        SPACE.validate(parse(text))


def test_wrong_sizes_are_refused():
    shape = TaskShape(3, (32, 32), 10)
    with pytest.raises(UsageError, match=r"space.partial_channels=3 .* divisor of .*channels=16"):
        NasBench201(channels=16, cells=1, partial_channels=3).supernet(shape)
    genotype = SPACE.sample(np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"needs images"):
        SPACE.network(genotype, TaskShape(1, (260,), 5), NetworkSize())
    with pytest.raises(UsageError, match=r"retrain.stem=cifar"):
        SPACE.network(genotype, CIFAR10, NetworkSize(stem="imagenet"))


# ---------------------------------------------------------------------------- the supernet


def fast_supernet(partial_channels=1, **keywords):
    torch.manual_seed(0)
    space = NasBench201(channels=4, cells=1, partial_channels=partial_channels)
    net = space.supernet(TaskShape(2, (8, 8), 3), **keywords).double()
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_()
    for name, parameter in net.named_parameters():
        if "weight_EC" in name or "bias_EC" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return net


def random_case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64)
    weights = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    gates = torch.rand(6, generator=generator, dtype=torch.float64)
    active = torch.rand(6, 5, generator=generator) < 0.6
    return images, weights, gates, active


def gradients_of(net, images, weights, *, gates=None, active=None, statistics):
    weights = weights.clone().requires_grad_()
    if gates is not None:
        gates = gates.clone().requires_grad_()
    mixture = Mixture({"cell": weights}, None if gates is None else {"cell": gates}, active)
    logits = net(images, mixture, statistics=statistics)
    net.zero_grad()
    logits.pow(2).sum().backward()
    return logits.detach(), weights.grad, None if gates is None else gates.grad


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def assert_same_state(fast, slow):
    """Gradients of the kernels, and running statistics, of the cells of both supernets."""
    slow_cells = [layer for layer in slow.layers if hasattr(layer, "operations")]
    fast_cells = [cell for stage in fast.stages for cell in stage]
    for fast_cell, slow_cell in zip(fast_cells, slow_cells, strict=True):
        for edge, (source, _) in enumerate(EDGES):
            for name in ("nor_conv_1x1", "nor_conv_3x3"):
                stack = fast_cell.convolutions[f"{name}_from_{source}"]
                position = stack.edges.index(edge)
                _, convolution, norm = slow_cell.operations[f"{name}_{edge}"]
                grad = stack.kernels_NMkk.grad
                if grad is None:
                    grad = torch.zeros_like(stack.kernels_NMkk)
                grad = grad.view_as(stack.of_edge())[position]
                assert_same(grad, convolution.weight.grad)
                assert_same(stack.norm.running_mean_EC[position], norm.running_mean)
                assert_same(stack.norm.running_var_EC[position], norm.running_var)
    assert_same(fast.stem.weight.grad, slow.stem.weight.grad)
    assert_same(fast.stem_norm.running_mean_EC[0], slow.stem_norm.running_mean)


@pytest.mark.parametrize("statistics", ["update", "batch", "running"])
@pytest.mark.parametrize("partial_channels", [1, 2])
@pytest.mark.parametrize("gated", [False, True])
def test_supernet_equals_the_edge_major_one(statistics, partial_channels, gated):
    images, weights, gates, _ = random_case()
    fast = fast_supernet(partial_channels)
    slow = EdgeMajorSupernet(fast)
    keywords = {"statistics": statistics, "gates": gates if gated else None}
    actual = gradients_of(fast, images, weights, **keywords)
    expected = gradients_of(slow, images, weights, **keywords)
    for actual_tensor, expected_tensor in zip(actual, expected, strict=True):
        if expected_tensor is not None:
            assert_same(actual_tensor, expected_tensor)
    assert_same_state(fast, slow)


@pytest.mark.parametrize("partial_channels", [1, 2])
def test_inactive_operations_are_those_of_weight_zero(partial_channels):
    images, weights, gates, active = random_case(1)
    fast = fast_supernet(partial_channels)
    slow = EdgeMajorSupernet(fast)
    keywords = {"statistics": "batch", "gates": gates}
    actual = gradients_of(fast, images, weights, active={"cell": active}, **keywords)
    expected = gradients_of(slow, images, weights * active, **keywords)
    assert_same(actual[0], expected[0])
    assert_same(actual[1], expected[1] * active)
    assert_same_state(fast, slow)


@pytest.mark.parametrize("num_edges", [1, 2])
def test_batch_norm_with_a_scale_per_edge(num_edges):
    """Gradients against the formula, also for channels_last images and a lone edge."""
    torch.manual_seed(0)
    norm = BatchNorm(3, num_edges=num_edges)
    images = torch.randn(4, 3 * num_edges, 2, 2).contiguous(memory_format=torch.channels_last)
    output_gradient = torch.randn(images.shape).contiguous(memory_format=torch.channels_last)
    scale_E = torch.rand(num_edges)
    results = []
    for dtype in (torch.float32, torch.float64):
        x, scale = images.to(dtype).requires_grad_(), scale_E.to(dtype).requires_grad_()
        if dtype == torch.float32:
            output = norm(x, "batch", scale_N=scale.repeat_interleave(3))
        else:
            centred = x - x.mean((0, 2, 3), keepdim=True)
            variance = centred.pow(2).mean((0, 2, 3), keepdim=True)
            scale_1C11 = torch.cat([s.expand(3) for s in scale])[None, :, None, None]
            output = scale_1C11 * centred / (variance + 1e-5).sqrt()
        results.append(
            [output, *torch.autograd.grad(output, (x, scale), output_gradient.to(dtype))]
        )
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)


def test_inactive_operations_keep_their_running_statistics():
    images, weights, _, active = random_case(2)
    net = fast_supernet()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(images, Mixture({"cell": weights}, active={"cell": active}))
    for name, buffer in net.named_buffers():
        if "nor_conv" not in name:
            continue  # of the skeleton
        operation, source = name.split(".")[4].split("_from_")
        edges = [edge for edge, (start, _) in enumerate(EDGES) if start == int(source)]
        for position, edge in enumerate(edges):
            unchanged = torch.equal(buffer[position], before[name][position])
            assert unchanged != bool(active[edge, OPERATIONS.index(operation)])


def test_operations_that_are_not_active_are_not_built():
    _, _, _, active = random_case(3)
    net = fast_supernet(active={"cell": active})
    columns = [OPERATIONS.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3")]
    num_kernels = sum(p[:, 0, 0, 0].numel() for n, p in net.named_parameters() if "kernels" in n)
    assert num_kernels == (4 + 8 + 16) * int(active[:, columns].sum())
    images, weights, _, _ = random_case()
    assert net(images, Mixture({"cell": weights})).isfinite().all()


def test_skip_dropout_only_while_training():
    images, weights, _, _ = random_case()
    plain, dropping = fast_supernet(), fast_supernet(skip_dropout=0.5)
    for statistics, same in (("running", True), ("batch", True), ("update", False)):
        pair = [
            net(images, Mixture({"cell": weights}), statistics=statistics)
            for net in (plain, dropping)
        ]
        assert torch.equal(*pair) == same


def test_one_hot_supernet_is_the_network_of_the_genotype():
    """With the network's weights in place of its own, and the scales of its norms at 1."""
    torch.manual_seed(0)
    shape = TaskShape(3, (8, 8), 4)
    space = NasBench201(channels=4, cells=2, partial_channels=1)
    genotype = parse(
        "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    )
    network, supernet = space.network(genotype, shape, NetworkSize()), space.supernet(shape)
    state = network.state_dict()
    supernet.load_state_dict({k: v for k, v in state.items() if "stages" not in k}, strict=False)
    for stage, cells in enumerate(supernet.stages):
        for position, cell in enumerate(cells):
            for key, convolution in network.stages[stage][position].convolutions.items():
                source, target = map(int, key.split("_"))
                size = convolution.convolution.kernel_size[0]
                stack = cell.convolutions[f"nor_conv_{size}x{size}_from_{source}"]
                row = stack.edges.index(EDGES.index((source, target)))
                stack.of_edge().data[row] = convolution.convolution.weight.data
    images = torch.randn(5, 3, 8, 8)
    network.train()
    expected = network(images)
    actual = supernet(
        images,
        Mixture.single(space, genotype),
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)

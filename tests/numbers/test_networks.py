"""Derived networks: exact parameter counts of published cells, sizes, heads, drop path."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nasrun.benchmarks import store
from nasrun.errors import UsageError
from nasrun.genotypes.darts import KNOWN_OPERATIONS, darts_genotype
from nasrun.genotypes.published import published_cells
from nasrun.genotypes.source import resolve
from nasrun.genotypes.text import parse
from nasrun.networks.blocks.operations import FactorisedReduce, drop_paths, make_operation
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.darts import Darts
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.training.costs import measure

SPACE = Darts(
    channels=4, cells=5, partial_channels=1, stem="cifar", operations=list(KNOWN_OPERATIONS)
)
CIFAR = NetworkSize(channels=36, cells=20)
SKIPS = [("skip_connect", 0), ("skip_connect", 1)] * 4


def facts_of_published_cells():
    folder = os.environ.get("NASRUN_DATA")
    if not folder:
        pytest.skip("NASRUN_DATA does not name the folder with published_cells.json")
    cells = json.loads((Path(folder) / "published_cells.json").read_text())
    del cells["README"]
    assert len(cells) == 15
    return cells


def parameters_of(facts, shape, size):
    pairs = {cell: [tuple(pair) for pair in facts[cell]] for cell in ("normal", "reduce")}
    genotype = darts_genotype(pairs, dict.fromkeys(pairs, facts["concat"]))
    with torch.device("meta"):
        network = SPACE.network(genotype, shape, size)
    return network, sum(p.numel() for p in network.parameters())


def test_published_cells_go_by_name():
    cells = published_cells()
    assert list(cells)[:2] == ["eg_nas_cifar10_first", "eg_nas_cifar10"]
    darts_v2 = cells["darts_v2"]
    assert resolve("darts_v2") == darts_v2.genotype
    assert darts_v2.params_cifar10 == 3_349_342
    with pytest.raises(UsageError, match="'darts_v9'; did you mean darts_v"):
        resolve("darts_v9")
    for name, facts in facts_of_published_cells().items():
        pairs = {cell: [tuple(pair) for pair in facts[cell]] for cell in ("normal", "reduce")}
        assert cells[name].genotype == darts_genotype(pairs), name
        assert cells[name].params_cifar10 == facts["params_cifar10_36ch_20cells"], name


def test_the_residual_cell_of_nasbench201():
    """Two seeds of the benchmark: .06 from the 93.97 that its paper prints of fewer or others."""
    cell = resolve("resnet")
    network = NasBench201(channels=16, cells=5, partial_channels=1).network(
        cell, TaskShape(3, (32, 32), 10), NetworkSize()
    )
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == published_cells()["resnet"].params_cifar10
    # by hand: 15 cells of two 3x3 convolutions with batch norm, 16, 32 and 64 channels wide
    cells = sum(5 * 2 * (9 * width**2 + 2 * width) for width in (16, 32, 64))
    blocks = sum(9 * w * 2 * w + 36 * w**2 + 4 * 2 * w + 2 * w**2 for w in (16, 32))
    assert parameters == cells + blocks + (27 * 16 + 32) + 128 + 650
    if not os.environ.get("NASRUN_DATA"):
        pytest.skip("NASRUN_DATA does not name the folder with nasbench201.npz")
    columns = store.load("nasbench201", None, "cifar10").datasets
    row = store.load("nasbench201", None, "cifar10").row(cell)
    found = [100 * columns[name].test_R[row] for name in ("cifar10", "cifar100")]
    assert found == pytest.approx([93.91, 70.89])


def test_parameters_of_published_cells_on_cifar():
    for name, facts in facts_of_published_cells().items():
        network, parameters = parameters_of(facts, TaskShape(3, (32, 32), 10), CIFAR)
        assert parameters == facts["params_cifar10_36ch_20cells"], name
        # CIFAR-100 differs in the classifier alone.
        network.classifier = nn.Linear(network.classifier.in_features, 100)
        parameters = sum(p.numel() for p in network.parameters())
        assert parameters == facts["params_cifar100_36ch_20cells"], name


def test_parameters_of_published_cells_on_imagenet():
    size = NetworkSize(channels=48, cells=14, stem="imagenet")
    for name, facts in facts_of_published_cells().items():
        _, parameters = parameters_of(facts, TaskShape(3, (224, 224), 1000), size)
        assert parameters == facts["params_imagenet_48ch_14cells"], name


def test_parameters_by_hand():
    """One normal and two reduction cells of skips, one channel-pair wide."""
    genotype = darts_genotype({"normal": SKIPS, "reduce": SKIPS})
    network = SPACE.network(genotype, TaskShape(1, (8, 8), 3), NetworkSize(channels=2, cells=3))
    stem = 9 * 6 + 2 * 6
    normal = 2 * (6 * 2 + 2 * 2)  # two 1x1 convolutions 6 -> 2, each with batch norm
    first = (6 * 4 + 8) + (8 * 4 + 8) + 8 * (4 * 4 + 8)  # 1x1 6 -> 4, 8 -> 4, eight reductions
    second = (8 * 8 + 16) + (16 * 8 + 16) + 8 * (8 * 8 + 16)
    classifier = 32 * 3 + 3
    expected = stem + normal + first + second + classifier
    assert measure(network, TaskShape(1, (8, 8), 3))[0] == expected


def test_multiply_adds_equal_those_counted_layer_by_layer():
    """Kernel values per output value; an auxiliary head counts in neither figure."""
    genotype, shape = SPACE.sample(np.random.default_rng(1)), TaskShape(3, (32, 32), 10)
    network = SPACE.network(genotype, shape, NetworkSize())
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    counts = []
    for layer in layers:
        layer.register_forward_hook(
            lambda layer, _, output: counts.append(output.numel() * layer.weight[0].numel())
        )
    network.eval()(torch.zeros(1, 3, 32, 32))
    parameters = sum(p.numel() for p in network.parameters())
    expected = (parameters, sum(counts))
    assert SPACE.params_and_flops(genotype, shape, NetworkSize(auxiliary=True)) == expected
    assert measure(network, shape) == expected


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (32, 32)])
@pytest.mark.parametrize("cells", [1, 2, 5])
def test_any_size_and_depth(size, cells):
    genotype = SPACE.sample(np.random.default_rng(0))
    network = SPACE.network(genotype, TaskShape(1, size, 10), NetworkSize(cells=cells))
    logits_BK = network(torch.randn(2, 1, *size))
    assert logits_BK.shape == (2, 10)
    assert logits_BK.isfinite().all()


@pytest.mark.parametrize(
    ("size", "stem", "has_head"),
    [
        ((32, 32), "cifar", True),
        ((28, 28), "cifar", False),  # 7x7 maps, the head needs 8x8
        ((8, 8), "cifar", False),
        ((64, 64), "cifar", True),
        ((224, 224), "imagenet", True),
        ((96, 96), "imagenet", False),
    ],
)
def test_auxiliary_head_where_the_map_is_large_enough(size, stem, has_head):
    genotype = SPACE.sample(np.random.default_rng(0))
    network_size = NetworkSize(auxiliary=True, stem=stem)
    network = SPACE.network(genotype, TaskShape(3, size, 10), network_size).eval()
    images = torch.randn(1, 3, *size)
    logits_BK, auxiliary_BK = network.with_auxiliary(images)
    assert torch.equal(logits_BK, network(images))
    assert (auxiliary_BK is not None) == has_head
    assert auxiliary_BK is None or auxiliary_BK.shape == (1, 10)


def test_auxiliary_heads_have_the_published_layers():
    network = SPACE.network(
        darts_genotype({"normal": SKIPS, "reduce": SKIPS}),
        TaskShape(3, (32, 32), 10),
        NetworkSize(channels=36, cells=20, auxiliary=True),
    )
    # 576 channels: 1x1 to 128, 2x2 to 768, two batch norms, classifier
    expected = 576 * 128 + 256 + 128 * 768 * 4 + 1536 + 768 * 10 + 10
    assert sum(p.numel() for p in network.auxiliary_head.parameters()) == expected


def test_output_states_follow_the_concat():
    genotype = darts_genotype({"normal": SKIPS, "reduce": SKIPS}, {"normal": [2], "reduce": [4, 5]})
    network = SPACE.network(genotype, TaskShape(1, (8, 8), 3), NetworkSize(channels=4, cells=3))
    assert network.classifier.in_features == 2 * 16
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(UsageError, match="leaves a node out"):
        SPACE.one_hot(genotype)


def test_drop_paths_zeroes_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop_paths(torch.ones(10_000, 2, 1, 1), 0.2)
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert sorted(dropped.unique().tolist()) == [0.0, 1.25]
    assert abs(dropped.mean().item() - 1.0) < 0.02


@pytest.mark.parametrize("space", [SPACE, NasBench201(channels=4, cells=1, partial_channels=1)])
def test_drop_path_only_while_training_and_never_on_the_identity(space):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shape = TaskShape(1, (8, 8), 3)
    images = torch.randn(4, 1, 8, 8)
    network = space.network(space.sample(rng), shape, NetworkSize()).eval()
    expected = network(images)
    network.drop_path = 0.5
    assert torch.equal(network(images), expected)
    skips = {
        "darts": darts_genotype({"normal": SKIPS, "reduce": SKIPS}),
        "nasbench201": parse("|skip_connect~0|+" + "|skip_connect~0|none~1|+|skip_connect~0|"
                             "skip_connect~1|none~2|"),
    }[space.name]  # fmt: skip
    size = NetworkSize(cells=1)  # DARTS: a reduction cell, whose inputs are reduced, not skipped
    for sampled, same in ((skips, space.name == "nasbench201"), (space.sample(rng), False)):
        network = space.network(sampled, shape, size).train()
        plain = network(images)
        network.drop_path = 0.5
        assert torch.equal(network(images), plain) == same


def test_operations_halve_odd_and_even_sizes():
    images = torch.randn(2, 4, 7, 10)
    for name in KNOWN_OPERATIONS[1:]:
        assert make_operation(name, 4, 1)(images).shape == (2, 4, 7, 10)
        assert make_operation(name, 4, 2)(images).shape == (2, 4, 4, 5)


def test_factorised_reduce_sees_even_and_odd_pixels():
    reduce = FactorisedReduce(1, 2).eval()
    nn.init.ones_(reduce.even.weight)
    nn.init.ones_(reduce.odd.weight)
    images = torch.arange(16.0).view(1, 1, 4, 4)
    output = reduce(images) * (1 + 1e-5) ** 0.5  # undoes the initial batch norm
    torch.testing.assert_close(output[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    torch.testing.assert_close(output[0, 1], torch.tensor([[5.0, 7.0], [13.0, 15.0]]))


@pytest.mark.parametrize("size", [7, 56])
def test_factorised_reduction_equals_two_strided_convolutions(size):
    """With few channels_last channels on a large map oneDNN's strided backward pass crashes."""
    torch.manual_seed(0)
    reduce = FactorisedReduce(8, 8).to(memory_format=torch.channels_last)
    images = torch.randn(4, 8, size, size).contiguous(memory_format=torch.channels_last)
    output = reduce(images)
    towards = torch.randn(output.shape)
    (output * towards).sum().backward()
    even, odd = (c.weight.detach().double().requires_grad_() for c in (reduce.even, reduce.odd))
    rectified = images.double().relu()
    shifted = functional.pad(rectified, (0, 1, 0, 1))[:, :, 1:, 1:]
    halves = functional.conv2d(rectified, even, stride=2), functional.conv2d(shifted, odd, stride=2)
    norm = copy.deepcopy(reduce.norm).double()
    expected_output = norm(torch.cat(halves, dim=1))
    (expected_output * towards).sum().backward()
    torch.testing.assert_close(output.double(), expected_output, rtol=1e-4, atol=1e-5)
    for mine, expected in ((reduce.even, even), (reduce.odd, odd)):
        torch.testing.assert_close(mine.weight.grad.double(), expected.grad, rtol=1e-3, atol=1e-3)

"""Cells on signals: operations against those of torch on one axis, counts by hand, their texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.errors import UsageError
from nasrun.genotypes.cell1d import KNOWN_OPERATIONS
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import nasbench201_text
from nasrun.genotypes.text import parse
from nasrun.networks.blocks.edge_mixing import state_mixings
from nasrun.networks.blocks.layers import SIGNALS
from nasrun.networks.blocks.operations import make_operation
from nasrun.networks.blocks.stacked import compose
from nasrun.networks.darts.edges import CellMixing, Convolutions, StateEdges
from nasrun.networks.darts.supernet import DartsSupernet
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, NetworkSize, as_module
from nasrun.spaces.cell1d import Cell1d
from nasrun.spaces.cell1d_darts import Cell1dDarts
from nasrun.training.costs import measure

# fmt: off
ALL = ["none", "skip_connect", "avg_pool_3", "max_pool_3", "conv_3", "conv_5", "conv_7",
       "sep_conv_5", "dil_conv_5"]
# fmt: on
SPACE = Cell1d(channels=4, cells=1, partial_channels=1, operations=ALL)
BEATS = TaskShape(2, (21,), 5)
CELL = "|conv_7~0|+|none~0|skip_connect~1|+|max_pool_3~0|dil_conv_5~1|sep_conv_5~2|"


def norm(signals: Tensor) -> Tensor:
    return F.batch_norm(signals, None, None, training=True)


def on_one_axis(name: str, signals: Tensor, kernels: list[Tensor], stride: int) -> Tensor:
    """An operation with batch norm by the batch, in the layers of torch for one axis."""
    if name == "skip_connect" and stride == 1:
        return signals
    length = int(name[-1]) if name[-1].isdigit() else 0
    half = length // 2
    if name.startswith("max_pool"):
        return F.max_pool1d(signals, length, stride, half)
    if name.startswith("avg_pool"):
        return F.avg_pool1d(signals, length, stride, half, count_include_pad=False)
    rectified, groups = F.relu(signals), signals.shape[1]
    if name == "skip_connect":
        shifted = F.pad(rectified, (0, 1))[..., 1:]
        halves = (F.conv1d(rectified, kernels[0], stride=2), F.conv1d(shifted, kernels[1]))
        return norm(torch.cat([halves[0], halves[1][..., ::2]], dim=1))
    if name.startswith("conv"):
        return norm(F.conv1d(rectified, kernels[0], None, stride, half))
    dilation = 2 if name.startswith("dil") else 1
    while kernels:
        depthwise, pointwise, *kernels = kernels
        padding = dilation * half
        signals = F.conv1d(F.relu(signals), depthwise, None, stride, padding, dilation, groups)
        signals, stride = norm(F.conv1d(signals, pointwise)), 1
    return signals


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", KNOWN_OPERATIONS[1:])
def test_an_operation_of_a_network_is_that_of_torch_on_one_axis(name: str, stride: int) -> None:
    torch.manual_seed(0)
    for length in (10, 11):
        signals = torch.randn(3, 4, length)
        operation = make_operation(name, 4, stride, SIGNALS).train()
        kernels = [p.detach()[:, :, 0] for p in operation.parameters() if p.dim() == 4]
        found = operation(signals[:, :, None])
        assert found.shape == (3, 4, 1, -(-length // stride))
        torch.testing.assert_close(found[:, :, 0], on_one_axis(name, signals, kernels, stride))


def kernels_of(stack: Convolutions, edge: int) -> list[Tensor]:
    """The kernels of one edge of a stack, in the layout of `F.conv1d`."""
    found = []
    for convolution, _ in stack.pairs():
        weights = dict(convolution.named_parameters())
        if "weight_EOI" in weights:
            found += list(weights["weight_EOI"][edge, ..., None].chunk(2))
        elif "kernels_NMkk" in weights:
            found.append(weights["kernels_NMkk"][4 * edge : 4 * edge + 4, :, 0])
        else:
            found.append(weights["depthwise_ECKK"][edge])
            found.append(weights["pointwise_EOI"][edge, ..., None])
    return found


@pytest.mark.parametrize("stride", [1, 2])
def test_a_supernet_mixes_the_operations_of_torch_on_one_axis(stride: int) -> None:
    """All operations on two edges that leave one state, with weights that differ."""
    torch.manual_seed(0)
    operations = KNOWN_OPERATIONS
    built = [[True] * len(operations)] * 2
    edges = StateEdges([0, 1], operations, built, 4, stride, SIGNALS)
    weights_EO = torch.rand(2, len(operations))
    stacks = {
        name: stack for name, stack in edges.stacks.items() if isinstance(stack, Convolutions)
    }
    pairs = dict(pair for stack in stacks.values() for pair in stack.pairs())
    mixing = CellMixing(
        state_mixings(weights_EO, operations, 4, [[0, 1]]), None, torch.empty(0), built,
        compose(pairs, {}), "batch", 0.0,
    )  # fmt: skip
    for length in (10, 11):
        signals = torch.randn(3, 4, length)
        images = signals[:, :, None].contiguous(memory_format=torch.channels_last)
        rows = edges(images, mixing.states[0], mixing)  # (B * L, 2 edges * 4 channels)
        found = rows.view(3, -1, 2, 4).permute(2, 0, 3, 1)
        for edge in (0, 1):
            expected = 0
            for column, name in enumerate(operations[1:], start=1):
                kernels = kernels_of(stacks[name], edge) if name in stacks else []
                output = on_one_axis(name, signals, kernels, stride)
                output = norm(output) if "pool" in name else output
                expected = expected + weights_EO[edge, column] * output
            torch.testing.assert_close(found[edge], expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_are_folded_into_the_same_function() -> None:
    """In such passes dilated kernels of 3, 5 and 7 become one; not where an edge lacks some."""
    torch.manual_seed(0)
    operations = ["max_pool_3", "avg_pool_3", "skip_connect", *KNOWN_OPERATIONS[4:]]
    supernet = DartsSupernet(
        BEATS, operations, channels=8, cells=3, partial_channels=2, layers=SIGNALS
    )
    weights_EO = torch.rand(14, len(operations))
    weights_EO[:, 0] = 0.0
    weights = dict.fromkeys(("normal", "reduce"), weights_EO)
    signals = torch.randn(6, 2, 21)
    supernet(signals, Mixture(weights))
    with torch.no_grad():
        folded = supernet(signals, Mixture(weights), statistics="running")
        some = dict.fromkeys(weights, weights_EO > 0)
        apart = supernet(signals, Mixture(weights, active=some), statistics="running")
    torch.testing.assert_close(folded, apart, rtol=1e-4, atol=1e-4)


def test_size_and_parameters_by_hand() -> None:
    assert SPACE.size() == 9**6 == 531_441

    # per stage: conv_7, dil_conv_5 (depthwise, pointwise, norm), sep_conv_5 (twice the same)
    def cell(c: int) -> int:
        separable = 5 * c + c * c + 2 * c
        return (7 * c * c + 2 * c) + separable + 2 * separable

    def reduction(c: int) -> int:  # from c to 2c: two convolutions of 3 with norms, a shortcut
        return (3 * c * 2 * c + 4 * c) + (3 * 4 * c * c + 4 * c) + 2 * c * c

    expected = 2 * 3 * 4 + 8 + sum(map(cell, (4, 8, 16))) + reduction(4) + reduction(8)
    expected += 32 + 16 * 5 + 5  # the last norm and the classifier
    found = SPACE.params_and_flops(parse(CELL), BEATS, NetworkSize())
    parameters, flops = measure(SPACE.network(parse(CELL), BEATS, NetworkSize()), BEATS)
    assert found[0] == parameters == expected
    assert found[1] == flops + 5  # the bias of the classifier, as in the table of NAS-Bench-201


def test_a_text_of_operations_on_signals_is_a_cell_on_signals() -> None:
    genotype = parse(CELL)
    assert (genotype.space, nasbench201_text(genotype)) == ("cell1d", CELL)
    assert SPACE.encode(genotype) == (6, 0, 1, 3, 8, 7)
    assert parse(CELL.replace("conv_7", "nor_conv_3x3")).space == "cell1d"  # and refused by it
    assert parse("|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|").space == "nasbench201"
    pairs = [("conv_7", 0), ("skip_connect", 1)] * 4
    genotype = parse(f"Genotype(normal={pairs}, reduce={pairs})")
    assert genotype.space == "cell1d_darts"
    Cell1dDarts(
        channels=4, cells=3, partial_channels=1, stem="cifar", operations=["conv_7", "skip_connect"]
    ).validate(genotype)


def test_known_operations_that_are_not_searched_can_be_retrained() -> None:
    genotype = parse(CELL.replace("conv_7", "dil_conv_7"))
    assert SPACE.network(genotype, BEATS, NetworkSize())(torch.randn(2, 2, 21)).shape == (2, 5)
    with pytest.raises(UsageError, match="'dil_conv_7' on an edge: it can be retrained"):
        SPACE.encode(genotype)


def test_canonical_form_by_hand() -> None:
    assert SPACE.canonical(parse(CELL)) == (
        "(#+(0)@conv_7)@sep_conv_5+((0)@conv_7)@dil_conv_5+(0)@max_pool_3"
    )


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (["conv_3", "conv_4"], "unknown name 'conv_4'; did you mean conv_7 or conv_5"),
        (["conv_3x3", "none"], "unknown name 'conv_3x3'"),
        (["conv_3", "conv_3"], "two different names or more"),
        (["conv_3"], "two different names or more"),
    ],
)
def test_wrong_operations_are_named(operations: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Cell1d(channels=4, cells=1, partial_channels=1, operations=operations)


def test_images_are_refused() -> None:
    genotype = SPACE.sample(np.random.default_rng(0))
    with pytest.raises(UsageError, match="space=cell1d needs signals"):
        SPACE.network(genotype, TaskShape(1, (8, 8), 3), NetworkSize())


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_signals_of_any_length(length: int) -> None:
    genotype: Genotype = SPACE.sample(np.random.default_rng(0))
    network = SPACE.network(genotype, TaskShape(1, (length,), 3), NetworkSize())
    assert network(torch.randn(2, 1, length)).isfinite().all()
    assert not any(isinstance(m, nn.Conv2d) and m.kernel_size[0] != 1
                   for m in as_module(network).modules())  # fmt: skip


def test_arrays_of_signals_with_channels_first_or_last(tmp_path: Path) -> None:
    from nasrun.config import plugins
    from nasrun.config.catalogue import conf_dir, content

    rng = np.random.default_rng(0)
    signals_NCL = rng.integers(-500, 500, (6, 2, 9), dtype=np.int16)
    labels = np.arange(6) % 3
    node = {**content("dataset", "npz", conf_dir()), "file": str(tmp_path / "a.npz")}

    def loaded(signals: np.ndarray, layout: str = "signals") -> Tensor:
        parts = {f"x_{part}": signals for part in ("train", "test")}
        np.savez(tmp_path / "a.npz", **parts, y_train=labels, y_test=labels)
        dataset = plugins.build({**node, "layout": layout})
        raw, _ = next(dataset.test.batches(torch.arange(6), 6, torch.device("cpu")))
        return raw

    expected = torch.from_numpy(signals_NCL.astype(np.float32))
    assert torch.equal(loaded(signals_NCL), expected)
    assert torch.equal(loaded(signals_NCL.transpose(0, 2, 1)), expected)
    assert torch.equal(loaded(signals_NCL[:, 0], "auto"), expected[:, :1])
    with pytest.raises(UsageError, match=r"signals must be \[N,L\]"):
        loaded(signals_NCL[..., None])
    with pytest.raises(UsageError, match="NaN or infinite values in signal 2"):
        loaded(np.where(np.arange(6)[:, None] == 2, np.nan, signals_NCL[:, 0]))

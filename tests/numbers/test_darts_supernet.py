"""The state-major DARTS supernet computes what the textbook layout computes (float64)."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor

from nasrun.errors import UsageError
from nasrun.genotypes.darts import CELLS, EDGES, KNOWN_OPERATIONS
from nasrun.networks.blocks import stacked
from nasrun.networks.blocks.batch_norm import BatchNorm
from nasrun.networks.blocks.edge_mixing import PartialChannels, state_mixings
from nasrun.networks.blocks.stacked import (
    AveragePool,
    FactorisedReduce,
    Kernels,
    MaxPool,
    Separable,
    compose,
)
from nasrun.networks.blocks.stems import ImageNetStem
from nasrun.networks.darts import derived
from nasrun.networks.darts.edges import (
    EDGES_OF_STATE,
    NUM_EDGES,
    CellMixing,
    StateEdges,
)
from nasrun.networks.darts.supernet import DartsSupernet
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, Statistics
from tests.oracles.darts_edge_major import EdgeMajorSupernet, edge_major, pairs

WITHOUT_NONE = KNOWN_OPERATIONS[1:]
EXACT = {"rtol": 1e-7, "atol": 1e-9}  # float64; gradients pass through several batch norms
DIGITS = TaskShape(1, (8, 8), 10)


def make(
    shape: TaskShape,
    operations: tuple[str, ...] = WITHOUT_NONE,
    *,
    partial: int = 4,
    cells: int = 3,
    active: dict[str, Tensor] | None = None,
) -> tuple[DartsSupernet, EdgeMajorSupernet]:
    torch.manual_seed(0)
    fast = DartsSupernet(
        shape, operations, channels=4, cells=cells, partial_channels=partial, active=active
    ).double()
    for name, buffer in fast.named_buffers():  # so that "running" is not the initial state
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return fast, edge_major(fast)


def draw(shape: TaskShape, num_operations: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Images and weights that are no simplex: some are negative."""
    images = torch.randn(3, shape.channels, *shape.size, dtype=torch.float64)
    weights = {
        name: torch.randn(NUM_EDGES, num_operations, dtype=torch.float64).requires_grad_()
        for name in CELLS
    }
    return images, weights


def check_equal(
    fast: DartsSupernet,
    slow: EdgeMajorSupernet,
    images: Tensor,
    weights: dict[str, Tensor],
    statistics: Statistics,
    gates: dict[str, Tensor] | None = None,
    active: dict[str, Tensor] | None = None,
    slow_weights: dict[str, Tensor] | None = None,
) -> None:
    """Equal logits, equal gradients of the parameters, the mixing weights and the gates."""
    inputs = [*weights.values(), *(gates or {}).values()]
    outcomes = []
    for network in (fast, slow):
        if network is fast:
            logits = fast(images, Mixture(weights, gates, active), statistics=statistics)
        else:
            logits = slow(images, Mixture(slow_weights or weights, gates), statistics=statistics)
        network.zero_grad()
        for tensor in inputs:
            tensor.grad = None
        logits.square().sum().backward()
        outcomes.append((logits, [tensor.grad for tensor in inputs]))
    (fast_logits, fast_gradients), (slow_logits, slow_gradients) = outcomes
    torch.testing.assert_close(fast_logits, slow_logits, **EXACT)
    torch.testing.assert_close(fast_gradients, slow_gradients, **EXACT)
    for slow_gradient, fast_gradient in pairs(slow, fast, gradients=True):
        torch.testing.assert_close(fast_gradient, slow_gradient, **EXACT)


@pytest.mark.parametrize("statistics", ["update", "batch", "running"])
@pytest.mark.parametrize("partial", [4, 1])
@pytest.mark.parametrize(
    "operations", [KNOWN_OPERATIONS, WITHOUT_NONE], ids=["none", "without_none"]
)
def test_logits_gradients_and_statistics_equal_edge_major(
    statistics: Statistics, partial: int, operations: tuple[str, ...]
) -> None:
    fast, slow = make(DIGITS, operations, partial=partial)
    before = [buffer.clone() for buffer in fast.buffers()]
    images, weights = draw(DIGITS, len(operations))
    check_equal(fast, slow, images, weights, statistics)
    assert sum(p.numel() for p in fast.parameters()) == sum(p.numel() for p in slow.parameters())
    for slow_tensor, fast_tensor in pairs(slow, fast):
        torch.testing.assert_close(fast_tensor, slow_tensor, **EXACT)
    unchanged = all(map(torch.equal, before, fast.buffers()))
    assert unchanged == (statistics != "update")


@pytest.mark.parametrize(
    ("shape", "partial", "cells"),
    [
        (TaskShape(3, (32, 32), 5), 4, 4),
        (TaskShape(2, (7, 9), 5), 4, 4),
        (TaskShape(2, (9, 7), 5), 1, 3),
        (DIGITS, 4, 5),  # 2x2 maps at the end
        (DIGITS, 2, 1),  # a single reduction cell
    ],
)
def test_sizes_and_gates(shape: TaskShape, partial: int, cells: int) -> None:
    fast, slow = make(shape, partial=partial, cells=cells)
    images, weights = draw(shape, len(WITHOUT_NONE))
    used = CELLS if cells > 1 else ("reduce",)
    weights = {name: weights[name] for name in used}
    gates = {name: torch.rand(NUM_EDGES).double().requires_grad_() for name in used}
    with torch.no_grad():
        gates["reduce"][[1, 6]] = 0  # as in the one-hot gates of a genotype
    check_equal(fast, slow, images, weights, "batch", gates=gates)


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize(("partial", "cells"), [(4, 3), (1, 1)])
@pytest.mark.parametrize("built", ["all", "some"])
def test_each_candidate_equals_a_call(
    statistics: Statistics, partial: int, cells: int, built: str
) -> None:
    fast, slow = make(
        DIGITS, partial=partial, cells=cells, active=masks() if built != "all" else None
    )
    images, first = draw(DIGITS, len(WITHOUT_NONE))
    candidates = [Mixture(first), Mixture(draw(DIGITS, len(WITHOUT_NONE))[1])]
    before = [buffer.clone() for buffer in fast.buffers()]
    with torch.no_grad():
        for logits, mixture in zip(
            fast.each(images, candidates, statistics), candidates, strict=True
        ):
            torch.testing.assert_close(
                logits, fast(images, mixture, statistics=statistics), **EXACT
            )
            if built == "all":
                torch.testing.assert_close(
                    logits, slow(images, mixture, statistics=statistics), **EXACT
                )
    assert all(map(torch.equal, before, fast.buffers()))


def masks() -> dict[str, Tensor]:
    """All operations on some edges, none on others, one operation that is nowhere active."""
    generator = torch.Generator().manual_seed(3)
    shape = (NUM_EDGES, len(WITHOUT_NONE))
    active = {name: torch.rand(shape, generator=generator) < 0.5 for name in CELLS}
    for mask in active.values():
        mask[0] = True
        mask[:, 4] = False
        mask[[target == 4 for _, target in EDGES]] = False  # node 4 gets nothing but bypasses
    return active


@pytest.mark.parametrize("when", ["called", "built"])
@pytest.mark.parametrize("statistics", ["update", "running"])
def test_inactive_operations_equal_weights_of_zero(when: str, statistics: Statistics) -> None:
    active = masks()
    images, weights = draw(DIGITS, len(WITHOUT_NONE))
    gates = {name: torch.rand(NUM_EDGES).double().requires_grad_() for name in CELLS}
    fast, slow = make(DIGITS, active=active if when == "built" else None)
    zeroed = {name: weights[name] * active[name] for name in CELLS}
    at_call = active if when == "called" else None
    check_equal(fast, slow, images, weights, statistics, gates, at_call, slow_weights=zeroed)


def test_an_inactive_operation_is_neither_computed_nor_updated() -> None:
    active = masks()
    fast, _ = make(DIGITS)
    before = copy.deepcopy(fast)
    images, weights = draw(DIGITS, len(WITHOUT_NONE))
    fast(images, Mixture(weights, active=active), statistics="update")
    for position, cell in enumerate(fast.cells):
        mask_EO = active["reduce" if position in fast.reductions else "normal"]
        for state, edges in enumerate(cell.states):
            for name in WITHOUT_NONE[3:]:
                norm = edges.stacks[name].norms[0]
                old_norm = before.cells[position].states[state].stacks[name].norms[0]
                moved_E = (norm.running_mean_EC != old_norm.running_mean_EC).any(1)
                expected_E = mask_EO[edges.edges, WITHOUT_NONE.index(name)]
                assert torch.equal(moved_E, expected_E), (position, state, name)


def test_what_is_not_active_is_not_built() -> None:
    active = masks()
    fast, _ = make(DIGITS, active=active)
    everything, _ = make(DIGITS)
    assert not any("sep_conv_5x5" in name for name, _ in fast.named_parameters())
    edges = fast.cells[0].states[0]
    kernel = edges.stacks["dil_conv_5x5"].convolutions[0].depthwise_ECKK
    assert len(kernel) == int(active["normal"][edges.edges, 6].sum()) < 4
    assert sum(p.numel() for p in fast.parameters()) < sum(
        p.numel() for p in everything.parameters()
    )


def test_edges_and_reductions_are_where_darts_has_them() -> None:
    assert EDGES_OF_STATE == ([0, 2, 5, 9], [1, 3, 6, 10], [4, 7, 11], [8, 12], [13])
    fast, _ = make(DIGITS, cells=8)
    assert fast.reductions == {2, 5}
    widths = [cell.inputs[1].norm.running_mean_EC.numel() for cell in fast.cells]
    assert widths == [4, 4, 8, 8, 8, 16, 16, 16]
    halved = [isinstance(cell.inputs[0].convolve, FactorisedReduce) for cell in fast.cells]
    assert [position for position, value in enumerate(halved) if value] == [3, 6]


def test_imagenet_stem_equals_that_of_the_derived_network() -> None:
    torch.manual_seed(0)
    ours, theirs = ImageNetStem(3, 6), derived.ImageNetStem(3, 6)
    convolutions = [theirs.first[0], theirs.first[3], theirs.second[1]]
    for mine, other in zip(ours.convolutions, convolutions, strict=True):
        mine.load_state_dict(other.state_dict())
    images_BCHW = torch.randn(4, 3, 33, 40)
    found = ours(images_BCHW, "update")
    for mine, other in zip(found, theirs(images_BCHW), strict=True):
        torch.testing.assert_close(mine, other.relu(), rtol=1e-4, atol=1e-5)
    assert [state.shape[1:] for state in found] == [(6, 9, 10), (6, 5, 5)]


def test_parameters_of_the_imagenet_stem_by_hand() -> None:
    """Three convolutions for one, and the inputs of the first two cells are 16 wide for 48."""

    def parameters(stem: Literal["cifar", "imagenet"]) -> int:
        shape = TaskShape(3, (224, 224), 1000)
        supernet = DartsSupernet(shape, ["skip_connect"], channels=16, cells=8, stem=stem)
        return sum(parameter.numel() for parameter in supernet.parameters())

    cifar = 9 * 3 * 48 + 2 * 48 + 3 * 48 * 16
    imagenet = 9 * (3 * 8 + 8 * 16 + 16 * 16) + 2 * (8 + 16 + 16) + 3 * 16 * 16
    assert parameters("imagenet") - parameters("cifar") == imagenet - cifar


def test_shuffle_interleaves_the_groups() -> None:
    """Channels 0 to 7 in 4 groups of 2: first of each group, then second of each group."""
    partial = PartialChannels(8, 4, num_inputs=2, num_nodes=4)
    channels = torch.arange(8.0)
    bypass_then_mixed_RQ, paths = channels.roll(-2)[None], partial.paths(None)
    known_RQ = torch.cat([bypass_then_mixed_RQ, torch.zeros(1, 6)], dim=1)
    assert partial.nodes(known_RQ, paths)[0, :8].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert partial.state(0, bypass_then_mixed_RQ, paths).tolist() == [[0, 2]]


def test_separate_convolutions_equal_composed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    convolve = Separable(3, 4, 5, stride=2, dilation=2).double()
    images = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    norms = {convolve: BatchNorm(4, num_edges=3)}
    kernel_EOIKK = compose(norms, {}).composed[convolve]
    composed = convolve(images, kernel_EOIKK[[0, 2]].flatten(0, 1))
    monkeypatch.setattr(stacked, "WIDEST_COMPOSED", 3)
    assert not compose(norms, {}).composed
    torch.testing.assert_close(convolve.apart(images, [0, 2]), composed, **EXACT)


def test_skip_dropout_acts_on_training_only() -> None:
    """With only identities, dropout on 14 edges changes "update" and nothing else."""
    torch.manual_seed(0)
    dropping = DartsSupernet(DIGITS, WITHOUT_NONE, channels=4, cells=3, skip_dropout=0.5)
    images, weights = torch.randn(3, 1, 8, 8), {name: torch.ones(14, 7) for name in CELLS}
    outputs = {}
    for probability in (0.5, 0.0):
        dropping.skip_dropout = probability
        for statistics in ("batch", "update"):
            outputs[probability, statistics] = dropping(
                images, Mixture(weights), statistics=statistics
            )
    assert torch.equal(outputs[0.5, "batch"], outputs[0.0, "batch"])
    assert not torch.allclose(outputs[0.5, "update"], outputs[0.0, "update"])


def test_skip_dropout_keeps_half_and_doubles_it() -> None:
    everything = [[True]] * NUM_EDGES
    edges = StateEdges(EDGES_OF_STATE[0], ("skip_connect",), everything, 3, stride=1)
    states = state_mixings(torch.full((NUM_EDGES, 1), 10.0), ("skip_connect",), 3, EDGES_OF_STATE)
    mixing = CellMixing(states, None, torch.empty(0), everything, Kernels({}, {}), "update", 0.5)
    torch.manual_seed(0)
    rows = edges(torch.ones(2, 3, 16, 16), states[0], mixing)
    assert set(rows.unique().tolist()) == {0.0, 20.0}
    assert rows.mean().item() == pytest.approx(10, abs=0.5)
    assert not torch.equal(rows[:, :3], rows[:, 3:6])  # each edge drops its own elements


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operations": ("sep_conv_3x4",)}, "did you mean sep_conv_3x3"),
        ({"operations": ("none", "none")}, "each once"),
        ({"partial_channels": 3}, "space.partial_channels=3 must be a divisor"),
        ({"cells": 0}, "space.cells=0"),
        ({"skip_dropout": 1.0}, "skip_dropout=1.0"),
        ({"shape": TaskShape(1, (187,), 5)}, "needs images"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    possible = {"shape": DIGITS, "operations": KNOWN_OPERATIONS, "channels": 4, "cells": 3}
    with pytest.raises(UsageError, match=message):
        DartsSupernet(**{**possible, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 8), (1, 2)])
def test_pools_equal_those_of_torch(stride: int, size: tuple[int, int]) -> None:
    """With gradients and without, which are two ways for the maximum."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.nn.functional.max_pool2d(images, 3, stride, padding=1)
    with torch.no_grad():
        assert torch.equal(MaxPool(stride)(images), expected)
    assert torch.equal(MaxPool(stride)(images), expected)
    pooled = torch.nn.functional.avg_pool2d(images, 3, stride, 1, count_include_pad=False)
    torch.testing.assert_close(AveragePool(stride)(images), pooled, **EXACT)

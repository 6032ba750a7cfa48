"""Plain networks: their text and genes, their codes, their cost by hand, and their own training."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn import functional

from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.retrain import Retraining
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.macro_cnn import Block, Plan, macro_cnn_text, plan
from nasrun.genotypes.text import parse
from nasrun.networks.macro_cnn import MacroBlock
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize, TrainingHints
from nasrun.spaces.macro_cnn import MacroCnn
from nasrun.training.costs import measure
from tests.compose import composed

TEXT = "macro_cnn(2 conv3x3 w1 skip max, 1 conv5x5 w4 avg)"
TRAINED = "macro_cnn(1 conv3x3 w2 max; learning_rate=0.05, batch_size=16)"
SETTINGS = {
    "channels": 2,
    "max_blocks": 2,
    "max_depth": 2,
    "widths": [1, 4],
    "kernels": [3, 5],
    "coding": "integer",
    "training_genes": False,
    "learning_rates": [0.05, 0.1],
    "batch_sizes": [16, 32],
}
SPACE = MacroCnn(**SETTINGS)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"best so far: {TEXT}, 93.1",
        "macro_cnn( 2 x conv3x3  w1 skip max ,1 conv5x5 w4\n avg )",
        f"{TRAINED}\nlater: {TEXT}",
    ],
)
def test_forms_of_a_text(text: str) -> None:
    genotype = parse(text)
    assert macro_cnn_text(genotype) == TEXT
    assert [cell.name for cell in genotype.cells] == ["block1", "block2"]
    assert genotype.cells[0].edges == (
        Edge("conv_3x3_w1", 0, 1), Edge("conv_3x3_w1", 1, 2),
        Edge("skip_connect", 0, 2), Edge("max_pool_2x2", 2, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macro_cnn(2 conv3x3 w1 mux)", "'2 conv3x3 w1 mux' is no block"),
        ("macro_cnn(2 conv3x5 w1 max)", "is no block"),
        ("macro_cnn(0 conv3x3 w1 max)", "a number that no block can have"),
        ("macro_cnn(1 conv3x3 w1 max; rate=1)", "says nothing of a training"),
        ("macro_cnn(1 conv3x3 w1", "cut off or computed"),
    ],
)
def test_what_is_no_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((Cell("block2", ("in", "1"), (Edge("conv_3x3_w1", 0, 1),)),), "out of place"),
        ((Cell("block1", ("in", "1"), (Edge("conv_3x3_w1", 0, 1),)),), "is no block"),
        ((Block(1, 1, 3, "max", False).cell("spare1"),), "at least one block"),
        ((Block(1, 1, 4, "max", False).cell("block1"),), "kernel of even size"),
    ],
)
def test_what_is_no_plain_network_is_refused(cells: tuple[Cell, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SPACE.validate(Genotype("macro_cnn", cells))


def test_genes_by_hand_and_blocks_that_wait() -> None:
    # one block is computed; the second keeps its genes
    genes = (0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0)
    genotype = SPACE.decode(genes)
    assert plan(genotype) == Plan((Block(2, 1, 5, "max", True),), (Block(1, 4, 5, "avg", False),))
    assert SPACE.canonical(genotype) == "macro_cnn(2 conv5x5 w1 skip max)"
    assert [cell.name for cell in SPACE.pruned(genotype).cells] == ["block1"]
    grown = SPACE.decode((1, *genes[1:]))
    assert SPACE.canonical(grown) == "macro_cnn(2 conv5x5 w1 skip max, 1 conv5x5 w4 avg)"
    assert SPACE.size() == 2 * 32**2
    with pytest.raises(UsageError, match="has no genes in this space: 3 is none of 1, 4"):
        SPACE.encode(parse("macro_cnn(1 conv3x3 w3 max)"))
    with pytest.raises(UsageError, match=r"are not among them with space\.training_genes=false"):
        SPACE.encode(parse(TRAINED))


def test_neighbouring_choices_are_one_bit_apart() -> None:
    four = {**SETTINGS, "max_depth": 4, "widths": [1, 2, 4, 8]}
    integer, binary = MacroCnn(**four), MacroCnn(**{**four, "coding": "binary"})
    assert len(binary.cardinalities) == 1 + 2 * (2 + 2 + 1 + 1 + 1)
    genes = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    codes = []
    for width in range(4):
        genotype = integer.decode([*genes[:2], width, *genes[3:]])
        codes.append(binary.encode(genotype)[3:5])
        assert binary.decode(binary.encode(genotype)) == genotype
    assert codes == [(0, 0), (0, 1), (1, 1), (1, 0)]
    with pytest.raises(UsageError, match=r"space.widths=\[1, 2, 4\] .* 8 or 16, or so many values"):
        MacroCnn(**{**four, "widths": [1, 2, 4], "coding": "binary"})


def test_parameters_and_multiply_adds_by_hand() -> None:
    """Two channels; maps of 5x5 pixels become 3x3 and 2x2."""
    first = 2 * (9 * 2 * 2 + 2 * 2)  # two convolutions of 2 channels; the skip costs nothing
    second = 25 * 2 * 8 + 2 * 8  # one of 8
    expected = (9 * 2 + 2 * 2) + first + second + (8 * 3 + 3)
    flops = 25 * (9 * 2 + 2 * 9 * 2 * 2) + 9 * 25 * 2 * 8 + 8 * 3
    found = SPACE.params_and_flops(parse(TEXT), TaskShape(1, (5, 5), 3), NetworkSize())
    assert found == (expected, flops)


def test_costs_are_those_measured() -> None:
    space, shape = MacroCnn(**{**SETTINGS, "max_depth": 3}), TaskShape(3, (9, 6), 4)
    rng = np.random.default_rng(0)
    for _ in range(3):
        genotype = space.sample(rng)
        network = space.network(genotype, shape, NetworkSize(channels=3))
        assert measure(network, shape) == space.params_and_flops(
            genotype, shape, NetworkSize(channels=3)
        )


def test_a_block_adds_its_input_before_the_last_relu() -> None:
    block = MacroBlock(Block(1, 1, 3, "avg", True), 1, 1).eval()
    kernel = next(block.parameters())
    with torch.no_grad():
        kernel.zero_()[0, 0, 1, 1] = -3.0  # -3 x, and x beside it
    images = torch.tensor([[[[1.0, -1.0, 2.0]]]])
    norm = 1 / (1 + 1e-5) ** 0.5
    added = functional.relu(images - 3 * norm * images)  # 0, 2, 0: pooled by twos, then alone
    expected = torch.tensor([float(added[0, 0, 0, :2].mean()), float(added[0, 0, 0, 2])])
    torch.testing.assert_close(block(images, 0.0).flatten(), expected)


def wired(*chosen: str) -> Wiring:
    common = ["strategy=random", "space=macro_cnn_training", "space.channels=2", "dataset=digits"]
    common += ["dataset.limit=80", "retrain=smoke", "evaluator.epochs=1"]
    return Wiring(to_typed(composed([*common, *chosen]), SearchConfig))


def test_a_genotype_is_trained_by_what_it_says() -> None:
    """As by settings that say the same: the same metrics, bit for bit."""
    wiring, genotype = wired(), parse(TRAINED)
    hints = wiring.space.training_hints(genotype)
    assert hints == TrainingHints(0.05, 16)
    other = wired("evaluator.learning_rate=0.05", "evaluator.batch_size=16")
    found = []
    for one, said in ((wiring, hints), (other, TrainingHints()), (wiring, TrainingHints())):
        evaluator = one.raw_evaluator
        with mock.patch.object(evaluator.space, "training_hints", lambda _, said=said: said):
            rate = evaluator._begun(genotype).update.learning_rate
            (label,) = evaluator.evaluate([genotype])
        found.append((rate, label.values, label.details))
    assert found[0] == found[1]
    assert found[0][0] == 0.05 != found[2][0]
    training = Retraining(wiring, genotype, wiring.settings.retrain)
    assert training.update.learning_rate == 0.05
    assert training.stream.num_batches(training._batch_size) == 80 // 16


def test_what_rules_the_training_is_part_of_the_graph() -> None:
    graph = SPACE.graph(parse(TRAINED))
    assert graph.labels == (
        "input", "conv_3x3_w2", "max_pool_2x2", "learning_rate_0.05", "batch_size_16", "output",
    )  # fmt: skip
    arrows = np.argwhere(graph.adjacency_VV).tolist()
    assert arrows == [[0, 1], [0, 3], [1, 2], [2, 5], [3, 4], [4, 5]]


def test_depth_and_stem_are_no_settings() -> None:
    for size in (NetworkSize(cells=20), NetworkSize(stem="imagenet")):
        with pytest.raises(UsageError, match=r"type retrain\.(cells|stem)=null"):
            SPACE.network(parse(TEXT), TaskShape(1, (8, 8), 10), size)

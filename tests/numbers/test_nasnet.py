"""NASNet-A and AmoebaNet-A: what the public code of DARTS makes of them, restated as numbers."""

from __future__ import annotations

import pytest
import torch

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.genotypes.nasnet import OPERATIONS
from nasrun.genotypes.published import published_cells
from nasrun.genotypes.source import resolve
from nasrun.genotypes.text import parse
from nasrun.networks.blocks.operations import make_operation
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize, as_module
from nasrun.spaces.nasnet import NASNet

SPACE = NASNet(channels=4, cells=5, stem="cifar")
CIFAR, IMAGENET = TaskShape(3, (32, 32), 10), TaskShape(3, (224, 224), 1000)

# Public code: at 36 channels and 20 cells, the same with an auxiliary head, and for ImageNet at 48
# channels and 14 cells, with its head.
PARAMETERS = {
    "nasnet_a": (3_830_950, 4_288_944, 6_800_520),
    "amoebanet_a": (3_145_078, 3_603_072, 5_863_560),
}
# Public code at 4 channels and 5 cells in training, with the weights that `set_weights` makes.
LOGITS = {
    "nasnet_a": [[1.5458, 3.3725, 4.3780], [0.3525, 3.4608, 5.7219]],
    "amoebanet_a": [[11.6194, -28.3809, 19.2727], [12.6024, -28.5403, 18.4731]],
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_public_code(name: str) -> None:
    genotype, found = resolve(name), []
    for shape, size in (
        (CIFAR, NetworkSize(36, 20)),
        (CIFAR, NetworkSize(36, 20, auxiliary=True)),
        (IMAGENET, NetworkSize(48, 14, auxiliary=True, stem="imagenet")),
    ):
        with torch.device("meta"):
            network = as_module(SPACE.network(genotype, shape, size))
        found.append(sum(one.numel() for one in network.parameters()))
    assert tuple(found) == PARAMETERS[name]
    assert published_cells()[name].params_cifar10 == found[0]


def set_weights(state: dict[str, torch.Tensor]) -> None:
    """Waves over all weights, in their order."""
    for place, value in enumerate(state.values()):
        if value.dtype.is_floating_point:
            wave = torch.sin(place + 0.7 * torch.arange(float(value.numel())))
            value.copy_(wave.view_as(value))


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_those_of_the_public_code_with_the_same_weights(name: str) -> None:
    network = as_module(SPACE.network(resolve(name), TaskShape(1, (12, 12), 3), NetworkSize()))
    images = torch.cos(torch.arange(288.0)).view(2, 1, 12, 12)
    with torch.no_grad():
        set_weights(network.state_dict())
        logits_BK = network(images)
    torch.testing.assert_close(logits_BK, torch.tensor(LOGITS[name]), rtol=1e-4, atol=1e-4)


def test_the_published_cells_are_of_the_space_and_of_its_code() -> None:
    for name in PARAMETERS:
        genotype = resolve(name)
        assert SPACE.decode(SPACE.encode(genotype)) == genotype
        pairs = {
            cell.name: [(e.operation, e.source) for e in cell.edges if e.operation != "concat"]
            for cell in genotype.cells
        }
        concats = {c.name: [e.source for e in c.edges_into(7)] for c in genotype.cells}
        text = ", ".join(f"{c}={pairs[c]}, {c}_concat={concats[c]}" for c in pairs)
        assert parse(f"{name} = Genotype({text})") == genotype
    assert concats == {"normal": [4, 5, 6], "reduce": [3, 4, 6]}


def test_the_order_of_the_two_operations_of_a_node_does_not_matter() -> None:
    first = resolve("nasnet_a")
    cells = [
        Cell(cell.name, cell.nodes, (cell.edges[1], cell.edges[0], *cell.edges[2:]))
        for cell in first.cells
    ]
    second = Genotype("nasnet", tuple(cells))
    assert second != first
    assert SPACE.canonical(second) == SPACE.canonical(first)


def test_an_output_of_other_nodes_can_be_retrained_and_not_searched() -> None:
    text = "Genotype({0}, [2], {0}, [2, 6])".format([("sep_conv_3x3", 0), ("skip_connect", 0)] * 5)
    genotype = parse(text)
    network = SPACE.network(genotype, TaskShape(1, (8, 8), 3), NetworkSize(cells=3))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(UsageError, match=r"is \[2\], and the nodes that .* are \[2, 3, 4, 5, 6\]"):
        SPACE.encode(genotype)


def test_operations_halve_odd_and_even_sizes() -> None:
    images = torch.randn(2, 4, 7, 10)
    for name in OPERATIONS:
        assert make_operation(name, 4, 1)(images).shape == (2, 4, 7, 10)
        assert make_operation(name, 4, 2)(images).shape == (2, 4, 4, 5)

"""Genotypes of public forms in use: on the command line, shown, retrained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nasrun.cli.main import main
from nasrun.config.flags import quoted
from nasrun.errors import UsageError
from nasrun.genotypes.text import parse
from nasrun.networks.blocks.operations import make_operation
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from tests.made_genotypes import CELL_201, MODULE, NORMAL, OTHER, REDUCE, SPACE, TEXT, module


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"genotype=X = {CELL_201}", f"genotype='X = {CELL_201}'"),
        (f"genotype= {CELL_201}", f"genotype=' {CELL_201}'"),
        ("genotype=(matrix)", "genotype='(matrix)'"),
        ("genotype='|a~0|','|b~0|'", "genotype='|a~0|','|b~0|'"),
        ("genotype=a.py:X,b.json", "genotype=a.py:X,b.json"),
        ("genotype=random", "genotype=random"),
    ],
)
def test_a_genotype_on_the_command_line_needs_no_second_quotes(
    override: str, expected: str
) -> None:
    assert quoted(override) == expected


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    return printed.err


def test_show_refuses_what_its_space_refuses(capsys) -> None:
    """An operation of another space, 21 edges, a space that does not exist."""
    wrong = TEXT.replace("sep_conv_3x3", "conv_3x3")
    assert "the operation 'conv_3x3', which space=darts lacks" in refused(capsys, "show", wrong)
    content = parse(TEXT).to_json()
    content["cells"]["normal"]["edges"] += [["sep_conv_3x3", 0, 3]] * 9
    assert len(content["cells"]["normal"]["edges"]) == 21
    assert "node 3 of cell 'normal' needs two" in refused(capsys, "show", json.dumps(content))
    content = {**parse(TEXT).to_json(), "space": "../space/darts"}
    assert "which does not exist" in refused(capsys, "show", json.dumps(content))
    main(["show", TEXT])
    assert "space darts" in capsys.readouterr().out


def test_show_says_which_genotype_it_took(tmp_path: Path, capsys) -> None:
    main(["show", module(tmp_path, MODULE)])
    printed = capsys.readouterr()
    assert "genotypes.py: the last genotype is taken, SECOND of line 9" in printed.err
    assert f"id {parse(OTHER).short_id}" in printed.out


def test_a_cell_with_none_on_an_edge_can_be_retrained_and_not_searched() -> None:
    """Without the edge: as many parameters and the same canonical form whichever input it names."""
    pairs = [("none", 1), *NORMAL[1:2], *NORMAL[2:]]
    pairs[0] = ("none", 0)
    genotype = parse(f"Genotype(normal={pairs}, reduce={[('none', 0), *REDUCE[1:]]})")
    SPACE.validate(genotype)
    assert SPACE.canonical(genotype).startswith("2<1:skip_connect 3<0:sep_conv_3x3 ")
    with pytest.raises(UsageError, match="'none' on an edge: it can be retrained, and cannot"):
        SPACE.encode(genotype)
    shape = TaskShape(3, (9, 9), 10)
    network = SPACE.network(genotype, shape, NetworkSize(cells=4))
    twin = SPACE.network(parse(TEXT), shape, NetworkSize(cells=4))
    # Cells 1 and 2 reduce, cells 0 and 3 have 4 and 16 channels: two separable convolutions each,
    # that is C * 9 + C * C weights and 2 * C of the batch norm; a pool has no parameters.
    saved = sum(2 * (9 * width + width**2 + 2 * width) for width in (4, 16))
    count = [sum(one.numel() for one in net.parameters()) for net in (network, twin)]
    assert count[1] - count[0] == saved
    network(torch.randn(2, 3, 9, 9)).sum().backward()


@pytest.mark.parametrize("stride", [1, 2])
def test_none_is_zero_of_the_size_of_a_pool(stride: int) -> None:
    images = torch.randn(2, 4, 7, 10)
    nothing = make_operation("none", 4, stride)(images)
    assert nothing.shape == make_operation("max_pool_3x3", 4, stride)(images).shape
    assert not nothing.any()

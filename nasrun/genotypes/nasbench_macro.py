"""State the facts of NAS-Bench-Macro: eight blocks one after another, three choices for each.

Its authors write a network as eight digits, from the input on, such as 22212220.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nasrun.errors import UsageError, brief
from nasrun.genotypes.genotype import Cell, Edge, Genotype

SPACE, CELL = "nasbench_macro", "network"
OPERATIONS = ("identity", "mb3_k3", "mb6_k5")  # by their digits
STAGES = (2, 3, 3)  # blocks; the first of a stage halves the map and doubles the channels
NUM_BLOCKS = sum(STAGES)
EXPANSION_AND_KERNEL = {1: (3, 3), 2: (6, 5)}  # of a block with weights, by its digit
LAST = 40  # the channels of the last convolution are so many times those of the stem: 1,280 of 32
NODES = ("in", *map(str, range(1, NUM_BLOCKS)), "out")


def nasbench_macro_genotype(digits: Sequence[int]) -> Genotype:
    """Return the genotype of eight digits, each 0 to 2."""
    edges = (Edge(OPERATIONS[digit], node, node + 1) for node, digit in enumerate(digits))
    return Genotype(SPACE, (Cell(CELL, NODES, tuple(edges)),))


def digits_of(genotype: Genotype) -> tuple[int, ...]:
    """Return the eight digits of a genotype.

    Raises:
        UsageError: it is no chain of eight of the operations.
    """
    cell = genotype.cell(CELL)
    names = [edge.operation for edge in cell.edges]
    if len(names) == NUM_BLOCKS and set(names) <= set(OPERATIONS):
        digits = tuple(OPERATIONS.index(name) for name in names)
        if nasbench_macro_genotype(digits) == genotype:
            return digits
    raise UsageError(
        f"a {SPACE} genotype is a chain of {NUM_BLOCKS} edges with {', '.join(OPERATIONS)} on them"
    )


def parse(text: str) -> Genotype:
    """Read eight digits; raise `UsageError` for anything else."""
    if len(text) != NUM_BLOCKS or not set(text) <= set("012"):
        raise UsageError(
            f"'{brief(text)}' is no network of NAS-Bench-Macro: {NUM_BLOCKS} digits, each 0 to 2"
        )
    return nasbench_macro_genotype([int(digit) for digit in text])


def nasbench_macro_text(genotype: Genotype) -> str:
    """Write what `parse` reads."""
    return "".join(map(str, digits_of(genotype)))


class Block(NamedTuple):
    """A block in its network: what it is, its channels before and after, and its stride."""

    digit: int
    before: int
    after: int
    stride: int


def plan(digits: Sequence[int], channels: int) -> list[Block]:
    """Return the blocks of a network whose stem has so many channels."""
    blocks, before, place = list[Block](), channels, 0
    for length in STAGES:
        for number in range(length):
            after, stride = (2 * before, 2) if number == 0 else (before, 1)
            blocks.append(Block(digits[place], before, after, stride))
            before, place = after, place + 1
    return blocks


def canonical_digits(digits: Sequence[int]) -> tuple[int, ...]:
    """Move the identities of each stage behind its other blocks: there they do nothing.

    An identity at the beginning of a stage is a strided convolution, and stays. That is how the
    authors name a network that they have trained (`get_real_arch`).

    >>> canonical_digits((0, 1, 0, 0, 2, 1, 0, 0))
    (0, 1, 0, 2, 0, 1, 0, 0)
    """
    found, start = list[int](), 0
    for length in STAGES:
        first, *rest = digits[start : start + length]
        kept = [digit for digit in rest if digit]
        found += [first, *kept, *[0] * (length - 1 - len(kept))]
        start += length
    return tuple(found)

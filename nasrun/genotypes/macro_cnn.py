"""State the facts of a plain network of blocks; read and write its text and its cells.

A block is a chain of equal convolutions, with or without a skip around the chain, and a 2x2 pool.
Its width is a multiple of the channels of the space. A text has the blocks from the input on, and
what the genotype says of its training, if it says something:

    macro_cnn(2 conv3x3 w1 skip max, 1 conv5x5 w4 avg; learning_rate=0.05, batch_size=64)

As cells: `block1`, `block2`, ... are computed; `spare3`, ... have genes that wait, so that
crossover and mutation can bring them back. `training` has two labels and no operations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nasrun.errors import UsageError, brief
from nasrun.genotypes.genotype import Cell, Edge, Genotype

SPACE = "macro_cnn"
POOLS = ("max", "avg")
Pool = Literal["max", "avg"]
LARGEST, DEEPEST = 1_000, 100  # widths and kernels, convolutions of a block

_BLOCK = re.compile(
    r"(?P<depth>\d{1,4})\s*(?:x\s*)?conv(?P<kernel>\d{1,4})x(?P=kernel)\s+w(?P<width>\d{1,4})"
    r"(?P<skip>\s+skip)?\s+(?P<pool>max|avg)"
)
_CONVOLUTION = re.compile(r"conv_(\d{1,4})x\1_w(\d{1,4})")
_POOL = re.compile(r"(max|avg)_pool_2x2")
_NAME = re.compile(r"(block|spare)([1-9]\d{0,2})")
_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_TRAINING = re.compile(
    rf"learning_rate\s*=\s*(?P<rate>{_NUMBER})\s*,\s*batch_size\s*=\s*(?P<size>\d{{1,6}})"
)
EXAMPLE = "macro_cnn(2 conv3x3 w1 skip max, 1 conv5x5 w4 avg)"


@dataclass(frozen=True, slots=True)
class Block:
    """`depth` convolutions of `width` times the space's channels, and a pool."""

    depth: int
    width: int
    kernel: int
    pool: Pool
    skip: bool

    def __str__(self) -> str:
        skip = " skip" if self.skip else ""
        return f"{self.depth} conv{self.kernel}x{self.kernel} w{self.width}{skip} {self.pool}"

    def cell(self, name: str) -> Cell:
        """Write the block as a chain of nodes, the skip beside it, the pool at its end."""
        operation = f"conv_{self.kernel}x{self.kernel}_w{self.width}"
        edges = [Edge(operation, node, node + 1) for node in range(self.depth)]
        if self.skip:
            edges.append(Edge("skip_connect", 0, self.depth))
        edges.append(Edge(f"{self.pool}_pool_2x2", self.depth, self.depth + 1))
        return Cell(name, ("in", *map(str, range(1, self.depth + 1)), "out"), tuple(edges))


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a genotype says: blocks, blocks that wait, learning rate and batch size."""

    blocks: tuple[Block, ...]
    spare: tuple[Block, ...] = ()
    training: tuple[float, int] | None = None

    @property
    def genotype(self) -> Genotype:
        numbered = enumerate((*self.blocks, *self.spare), start=1)
        computed = len(self.blocks)
        cells = [
            block.cell(f"{'block' if number <= computed else 'spare'}{number}")
            for number, block in numbered
        ]
        if self.training is not None:
            rate, size = self.training
            edges = (Edge(f"learning_rate_{rate!r}", 0, 1), Edge(f"batch_size_{size}", 0, 1))
            cells.append(Cell("training", ("settings", "network"), edges))
        return Genotype(SPACE, tuple(cells))


def plan(genotype: Genotype) -> Plan:
    """Read a genotype.

    Raises:
        UsageError: its cells are no blocks, or not in their order.
    """
    blocks: dict[str, list[Block]] = {"block": [], "spare": []}
    training = None
    for position, cell in enumerate(genotype.cells, start=1):
        named = _NAME.fullmatch(cell.name)
        if cell.name == "training" and position == len(genotype.cells):
            training = _training(cell)
        elif (
            named is None or int(named[2]) != position or (named[1] == "block" and blocks["spare"])
        ):
            raise UsageError(
                f"cell '{brief(cell.name)}' of a macro_cnn genotype is out of place: its cells are "
                "block1, block2, ..., then spare blocks numbered on, then training, if at all"
            )
        else:
            blocks[named[1]].append(_block(cell))
    if not blocks["block"]:
        raise UsageError("a macro_cnn genotype has at least one block, and this one has none")
    return Plan(tuple(blocks["block"]), tuple(blocks["spare"]), training)


def _block(cell: Cell) -> Block:
    """Read the block of a cell: what the cell of that block looks like is in one place."""
    convolution = _CONVOLUTION.fullmatch(cell.edges[0].operation) if cell.edges else None
    pool = _POOL.fullmatch(cell.edges[-1].operation) if cell.edges else None
    if convolution is not None and pool is not None:
        skip = any(edge.operation == "skip_connect" for edge in cell.edges)
        kernel, width = int(convolution[1]), int(convolution[2])
        which: Pool = "max" if pool[1] == "max" else "avg"
        block = Block(len(cell.nodes) - 2, width, kernel, which, skip)
        if set(block.cell(cell.name).edges) == set(cell.edges) and len(cell.nodes) > 2:
            return block
    raise UsageError(
        f"cell '{brief(cell.name)}' is no block: equal convolutions such as conv_3x3_w2 one after "
        "the other, perhaps a skip_connect around them, and max_pool_2x2 or avg_pool_2x2"
    )


def _training(cell: Cell) -> tuple[float, int]:
    text = ", ".join(
        re.sub(r"^(learning_rate|batch_size)_", r"\1=", edge.operation) for edge in cell.edges
    )
    return _read_training(text)


def _read_training(text: str) -> tuple[float, int]:
    found = _TRAINING.fullmatch(text.strip())
    if found is None or float(found["rate"]) <= 0 or int(found["size"]) < 2:
        raise UsageError(
            f"'{brief(text)}' says nothing of a training: learning_rate=0.05, batch_size=64"
        )
    return float(found["rate"]), int(found["size"])


def parse(text: str) -> Genotype:
    """Read what stands between the brackets of `macro_cnn(...)`.

    Raises:
        UsageError: it is no list of blocks.
    """
    listed, _, training = text.partition(";")
    blocks = []
    for part in listed.split(","):
        found = _BLOCK.fullmatch(" ".join(part.split()))
        if found is None:
            raise UsageError(
                f"'{brief(part.strip())}' is no block of a macro_cnn text, such as {EXAMPLE}"
            )
        pool: Pool = "max" if found["pool"] == "max" else "avg"
        depth, width, kernel = (int(found[name]) for name in ("depth", "width", "kernel"))
        if not (1 <= depth <= DEEPEST and 1 <= width <= LARGEST and 1 <= kernel <= LARGEST):
            raise UsageError(f"'{brief(part.strip())}' has a number that no block can have")
        blocks.append(Block(depth, width, kernel, pool, found["skip"] is not None))
    said = _read_training(training) if training.strip() else None
    return Plan(tuple(blocks), training=said).genotype


def macro_cnn_text(genotype: Genotype) -> str:
    """Write what `parse` reads, with its name and brackets; blocks that wait are left out."""
    found = plan(genotype)
    training = ""
    if found.training is not None:
        training = f"; learning_rate={found.training[0]!r}, batch_size={found.training[1]}"
    return f"{SPACE}({', '.join(map(str, found.blocks))}{training})"

"""State the facts of a NASNet cell: five nodes, and some operations more than DARTS has.

Source: Zoph et al. 2018, arXiv 1707.07012, with the operations of Real et al. 2019, arXiv
1802.01548, under the names of the public code of DARTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.pairs import NUM_INPUTS, pair_cell

NUM_NODES = 5
NODES = tuple(range(NUM_INPUTS, NUM_INPUTS + NUM_NODES))
OPERATIONS = (
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
    "conv_7x1_1x7",
)


def nasnet_genotype(
    pairs: Mapping[str, Sequence[tuple[str, int]]],
    concat: Mapping[str, Sequence[int] | None] | None = None,
) -> Genotype:
    """Make a NASNet genotype from lists of (operation, input state), two per node.

    `concat` names the states that form a cell's output (default: all that no node reads).

    Raises:
        UsageError: they are no ten pairs, or the states are others than 2 to 6.
    """
    cells = (
        pair_cell(name, listed, None if concat is None else concat[name], NUM_NODES)
        for name, listed in pairs.items()
    )
    return Genotype("nasnet", tuple(cells))

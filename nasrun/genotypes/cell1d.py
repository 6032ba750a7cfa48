"""State the facts of cells on signals: their operations, and which cells of a text they are.

The cells have the nodes and edges of NAS-Bench-201 (`cell1d`) or of DARTS (`cell1d_darts`), and
the same texts; the number in an operation's name is the length of its window, in samples.
"""

from __future__ import annotations

from dataclasses import replace

from nasrun.genotypes.genotype import Genotype

KNOWN_OPERATIONS = (
    "none",
    "skip_connect",
    "avg_pool_3",
    "max_pool_3",
    "conv_3",
    "conv_5",
    "conv_7",
    "sep_conv_3",
    "sep_conv_5",
    "sep_conv_7",
    "dil_conv_3",
    "dil_conv_5",
    "dil_conv_7",
)
SHARED = ("none", "skip_connect")  # with the cells on images, which have the same name for it
ON_SIGNALS = {"nasbench201": "cell1d", "darts": "cell1d_darts"}
"""The space on images -> the space on signals whose cells have the same nodes and edges."""


def placed(genotype: Genotype) -> Genotype:
    """Return a genotype that was read as one on images, in the space that its operations are of.

    One that has nothing but skips and `none` stays where it is: it could be either, and its JSON
    form says which.
    """
    own = set(KNOWN_OPERATIONS) - set(SHARED)
    found = {edge.operation for cell in genotype.cells for edge in cell.edges}
    return replace(genotype, space=ON_SIGNALS[genotype.space]) if own & found else genotype

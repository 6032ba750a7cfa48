"""Define a space of cells on signals in the shape of DARTS, for strategies on a supernet.

The cells are described in `nasrun.spaces.two_inputs`, the skeleton is that of DARTS with layers for
signals. An operation's number is the length of its window. No torch at import time.

Source: the shape of Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. Plain convolutions are ReLU,
convolution and batch norm, as in NAS-Bench-201 (Dong, Yang, ICLR 2020, arXiv 2001.00326).
"""

from __future__ import annotations

from typing import ClassVar

from nasrun.genotypes.cell1d import KNOWN_OPERATIONS
from nasrun.spaces.two_inputs import TwoInputsSpace


class Cell1dDarts(TwoInputsSpace):
    """The DARTS cells, on signals. `TwoInputsSpace` says what the settings are."""

    name = "cell1d_darts"
    takes = ("signals",)
    known_operations: ClassVar[tuple[str, ...]] = KNOWN_OPERATIONS

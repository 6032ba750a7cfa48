"""Define the space of DARTS: Differentiable Architecture Search.

Source: Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055. Its cells are described in
`nasrun.spaces.two_inputs`. No torch at import time.

Deviations:
- The default operations are the seven of EG-NAS's public code, by which its cells were found;
  `space.operations` takes all eight of DARTS, `none` included.
- Pools and factorised reductions round up, so that images of any size work; DARTS has even maps.
"""

from __future__ import annotations

from typing import ClassVar

from nasrun.genotypes.darts import KNOWN_OPERATIONS
from nasrun.spaces.two_inputs import TwoInputsSpace


class Darts(TwoInputsSpace):
    """The DARTS cells, on images. `TwoInputsSpace` says what the settings are."""

    name = "darts"
    known_operations: ClassVar[tuple[str, ...]] = KNOWN_OPERATIONS

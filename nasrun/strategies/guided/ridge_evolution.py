"""Evolution guided by a ridge regression: the floor that DCL-ENAS must beat.

No paper: the loop is Algorithm 1 of DCL-ENAS, one infill per hard code a round included, and the
predictor is a closed form without any pre-training (`predictor=ridge`).
"""

from __future__ import annotations

from nasrun.strategies.guided.dclenas import DCLENAS


class RidgeEvolution(DCLENAS):
    """A class of its own, so that results bear a name of their own."""

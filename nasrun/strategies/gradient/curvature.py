"""Multiply by second derivatives of a training loss, as second-order and implicit methods do.

Shapes: P numbers that the shared weights consist of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from nasrun.protocols.scorer import Gradient, Scorer
from nasrun.protocols.space import Mixture

STEP = 0.01  # length of the step in the weights; footnote 2 of DARTS


def change_along(
    scorer: Scorer, mixture: Mixture, batch: Any, at_P: Tensor, direction_P: Tensor
) -> Gradient:
    """Differentiate the gradients of a loss along a direction in the weights.

    They are (gradient(w + epsilon v) - gradient(w - epsilon v)) / (2 epsilon), epsilon = 0.01 / |v|
    (Eq. 8 of DARTS, arXiv 1806.09055): by the mixture d2L/dalpha dw v, by the weights d2L/dw2 v.
    Loss and accuracy mean nothing.
    """
    norm = float(direction_P.norm())
    epsilon = STEP / norm if norm > 0 else STEP  # along nothing, nothing changes
    above, below = (
        scorer.gradient(mixture, batch, at_P + sign * epsilon * direction_P) for sign in (1, -1)
    )
    slope_P = (above.by_parameters - below.by_parameters) / (2 * epsilon)
    change = above.plus(-1.0, below)  # the difference, then divided by 2 epsilon
    return replace(change.plus(1 / (2 * epsilon) - 1.0, change), of_parameters_P=slope_P)

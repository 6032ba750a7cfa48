"""DARTS: Differentiable Architecture Search, first and second order.

H. Liu, K. Simonyan, Y. Yang. ICLR 2019, arXiv 1806.09055.

An edge mixes its operations by the softmax of alpha (Eq. 2), so that alpha can be trained by
gradient descent like the weights w of the supernet, on other images (Algorithm 1):

    for each epoch:
        for each batch of the training half:
            w' = w, or in second order w - xi (momentum + gradient of L_train(w, alpha) + decay)
            v = gradient of L_val(w', alpha) by w', on a batch of the validation half
            alpha by the gradient of L_val(w', alpha), in second order less xi times
                [gradient of L_train(w+, alpha) - that of L_train(w-, alpha)] / (2 epsilon),
                w+ and w- = w + and - epsilon v, epsilon = .01 / |v|
            w by the gradient of L_train(w, alpha)
    derive the cell from alpha

Deviations:
- The step ahead of second order has momentum and decay, as in the public code; that of Eq. 6 is
  along the gradient alone.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch
from nasrun.strategies.gradient.curvature import change_along


@plugin
class DARTS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    step_cost: ClassVar[str] = "2 gradients a batch, or 5"

    order: Annotated[int, Interval(ge=1, le=2)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order == 2:
            self.scorer.require_weights("strategy.order=2")

    def gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        """Differentiate L_val with w held, or one step ahead: Eq. 7, by differences (Eq. 8)."""
        scorer = self.scorer
        if self.order == 1:
            return scorer.gradient(mixture, batch)
        train = scorer.next_batch()
        outer = scorer.gradient(mixture, batch, scorer.unrolled(mixture, train))
        w_P, xi = scorer.parameters(), scorer.learning_rate
        return outer.plus(-xi, change_along(scorer, mixture, train, w_P, outer.by_parameters))

"""iDARTS: Differentiable Architecture Search with Stochastic Implicit Gradients.

M. Zhang, S. W. Su, S. Pan, X. Chang, E. M. Abbasnejad, R. Haffari. ICML 2021, arXiv 2106.10784.

At the best weights w of an architecture the implicit function theorem gives the gradient by alpha;
the inverse of the Hessian in it is a Neumann series, cut after K terms, on batches of images:

    for each epoch:
        for each T batches of the training half:
            v = gradient of L_val(w, alpha) by w, on a batch of the validation half
            g = gradient of L_val(w, alpha) by alpha
            for k = 0 to K:
                g = g - gamma d2L_train/dalpha dw v
                v = v - gamma d2L_train/dw2 v
            alpha by g
            T steps of w by the gradient of L_train(w, alpha)
    derive the cell from alpha

Deviations:
- The products with second derivatives are differences of gradients, as in DARTS; the public code
  takes the Hessian as diagonal.
- L_train is that of the batch on which w is trained next; gamma is the learning rate of w.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import Count, CountOrNone, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch
from nasrun.strategies.gradient.curvature import change_along


@plugin
class IDARTS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    step_cost: ClassVar[str] = "about 3 gradients a batch"
    needs_weights: ClassVar[bool] = True

    inner_steps: Count  # T, batches of the weights for each step of alpha
    neumann_terms: CountOrNone  # K

    @property
    def batches_per_move(self) -> int:
        return self.inner_steps

    def gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        """Differentiate L_val by the mixture, of which the best w is a function."""
        scorer, train = self.scorer, self.scorer.next_batch()
        gamma, w_P = scorer.learning_rate, scorer.parameters()
        gradient = scorer.gradient(mixture, batch, w_P)
        v_P = gradient.by_parameters
        for _ in range(self.neumann_terms + 1):
            change = change_along(scorer, mixture, train, w_P, v_P)
            gradient = gradient.plus(-gamma, change)
            v_P = v_P - gamma * change.by_parameters
        return gradient

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
- The products with second derivatives are differences of gradients, as in DARTS, along v and not
  along all terms' sum, so that the Hessian is taken as it is and not as diagonal.
- L_train is that of the batch on which w is trained next; gamma is the learning rate of w.
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from typing import Any

from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.scorer import Gradient
from nasrun.protocols.settings import BatchImages, Count, CountOrNone, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import AlphaSearch
from nasrun.strategies.gradient.curvature import change_along


@plugin
class IDARTS(AlphaSearch):
    """The strategy; see the module's docstring, and `AlphaSearch` for its other settings."""

    alpha_images: BatchImages  # of the validation half, behind a step of alpha
    inner_steps: Count  # T, batches of the weights for each step of alpha
    neumann_terms: CountOrNone  # K

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scorer.require_weights("strategy=idarts")
        self.batch = 0  # of the epoch

    def step(self) -> StepReport:
        """Make an epoch, which begins with a step of alpha."""
        self.batch = 0
        return super().step()

    def move_alpha(self) -> Gradient | None:
        """Follow the implicit gradient before each T-th batch."""
        self.batch += 1
        if (self.batch - 1) % self.inner_steps > 0:
            return None
        mixture = Mixture(self.mixing_weights())
        gradient = self.implicit_gradient(mixture, self.scorer.draw_batch(self.alpha_images))
        self.follow(gradient)
        return gradient

    def implicit_gradient(self, mixture: Mixture, batch: Any) -> Gradient:
        """Compute the gradient of L_val by the mixture, with w as a function of it."""
        scorer, train = self.scorer, self.scorer.next_batch()
        gamma, w_P = scorer.learning_rate, scorer.parameters()
        gradient = scorer.gradient(mixture, batch, w_P)
        v_P = gradient.of_parameters_P
        for _ in range(self.neumann_terms + 1):
            assert v_P is not None
            change = change_along(scorer, mixture, train, w_P, v_P)
            assert change.of_parameters_P is not None
            gradient = gradient.plus(-gamma, change)
            v_P = v_P - gamma * change.of_parameters_P
        return gradient

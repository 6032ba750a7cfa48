"""GDAS: Searching for A Robust Neural Architecture in Four GPU Hours.

X. Dong, Y. Yang. CVPR 2019, arXiv 1910.04465.

Each batch samples one operation per edge, and only that one is computed. The choice is the arg max
of the perturbed alpha, whose gradient is taken to be that of its softmax (Eq. 5 to 7).

    for each epoch:
        for each batch of the training half:
            twice: h~ = softmax((log softmax(alpha) + G) / tau), with G from Gumbel(0, 1)
                   h = one-hot(arg max h~), of which the gradient is that of h~
            alpha by the gradient of L_val(w, h), with the first h
            w by the gradient of L_train(w, h), with the second
        lower tau
    derive the cell from alpha

Deviations:
- An operation that is not computed passes no gradient on. The public code adds its weight, which is
  0, to the output, and so gives it the sum of the output's gradient.
- Both cell types of DARTS are searched; the paper's best cell has a fixed reduction cell.
- Without Nesterov's momentum, so that methods compare.

An operation's slope is seen only where it was drawn, with its whole weight. Where a loss flattens
out behind the best operation, a middling one with a steeper slope wins: on the toy space, whose
operations have the gains 1, 2 and 4, their mean slopes are .032, .017 and .002. That is the method,
as the paper has it; with an eighth of these gains slopes rise with gains, and it finds the best.
"""

from __future__ import annotations

from typing import ClassVar

from nasrun.protocols.settings import Positive, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import BilevelSearch
from nasrun.strategies.gradient.samplers import annealed, gumbel_softmax, straight_through


@plugin
class GDAS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its other settings."""

    step_cost: ClassVar[str] = "2 paths a batch"

    tau_start: Positive  # temperature in the first epoch
    tau_end: Positive  # and in the last

    def mixture(self) -> Mixture:
        """Draw h: one operation per edge, and nothing else is computed."""
        tau = annealed(self.tau_start, self.tau_end, self.epoch, self.num_epochs)
        generator = self.context.streams.torch("gumbel")
        # alpha differs from log softmax(alpha) by a number for each edge, which cancels out
        weights = {
            name: straight_through(gumbel_softmax(alpha_EO, tau, generator))
            for name, alpha_EO in self.alpha.items()
        }
        active = {name: weights_EO.detach() > 0.5 for name, weights_EO in weights.items()}
        return Mixture(weights, active=active)

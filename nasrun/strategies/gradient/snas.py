"""SNAS: Stochastic Neural Architecture Search.

S. Xie, H. Zheng, C. Liu, L. Lin. ICLR 2019, arXiv 1812.09926.

The operations of an edge follow a distribution with the logits alpha. Each batch sees one sample of
all edges, relaxed so that it can be differentiated (Eq. 5), and one loss trains both alpha and w.
The temperature tau falls, so that samples come ever closer to single architectures.

    for each epoch:
        for each batch of the training half:
            Z = softmax((alpha + G) / tau), with G from Gumbel(0, 1)
            w and alpha by the gradient of L_train(w, Z), in one pass
        lower tau
    derive the cell from alpha

Deviations:
- tau falls along a line, as in the authors' later code; the paper says only that it falls.
- alpha starts at 1e-3 * N(0, 1) and is trained by Adam, as in DARTS.
- Cells of one type share a sample. The resource constraint of the paper is left out.
- The training half is half of the images, so that methods compare; the paper trains on all of them.
"""

from __future__ import annotations

from nasrun.protocols.settings import Positive, plugin
from nasrun.protocols.space import Mixture
from nasrun.strategies.gradient.base import SingleLevelSearch
from nasrun.strategies.gradient.samplers import annealed, gumbel_softmax


@plugin
class SNAS(SingleLevelSearch):
    """The strategy; see the module's docstring, and `AlphaSearch` for its other settings."""

    tau_start: Positive  # temperature in the first epoch
    tau_end: Positive  # and in the last

    def mixture(self) -> Mixture:
        """Draw Z of Eq. 5."""
        tau = annealed(self.tau_start, self.tau_end, self.epoch, self.num_epochs)
        generator = self.context.streams.torch("gumbel")
        alphas = self.alpha.items()
        return Mixture(
            {name: gumbel_softmax(alpha_EO, tau, generator) for name, alpha_EO in alphas}
        )

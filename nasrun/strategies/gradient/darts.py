"""DARTS: Differentiable Architecture Search, first order.

H. Liu, K. Simonyan, Y. Yang. ICLR 2019, arXiv 1806.09055.

An edge mixes its operations by the softmax of alpha (Eq. 2), so that alpha can be trained by
gradient descent like the weights w of the supernet, on other images (Algorithm 1 with xi = 0):

    for each epoch:
        for each batch of the training half:
            alpha by the gradient of L_val(w, alpha), on a batch of the validation half
            w by the gradient of L_train(w, alpha)
    derive the cell from alpha

Deviations:
- Batch norm normalises a validation batch by itself and leaves the running statistics alone.
"""

from __future__ import annotations

from nasrun.protocols.settings import plugin
from nasrun.strategies.gradient.base import BilevelSearch


@plugin
class DARTS(BilevelSearch):
    """The strategy; see the module's docstring, and `BilevelSearch` for its rule."""

"""LogSynFlow: SynFlow whose gradients are scaled down by a logarithm before they are summed.

N. Cavagnero, L. Robbiano, B. Caputo, G. Averta. FreeREA: Training-Free Evolution-based Architecture
Search. WACV 2023, arXiv 2207.05135.

    score = sum over weights w of |w log(dR/dw + 1)|, with R of SynFlow

Without the logarithm the few layers with the largest gradients decide.

Deviations:
- The logarithm is that of |dR/dw| + 1. Between positive weights dR/dw is positive, unless a network
  divides by something: the paper's form would then be no number.
- Batch norm and initialisation as in `synflow`; the paper's code initialises three times and takes
  the mean, here it is once.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nasrun.predictors.zero_cost.synflow import SynFlow
from nasrun.protocols.settings import plugin


@plugin
class LogSynFlow(SynFlow):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "logsynflow"

    def flow(self, weight: Tensor, gradient: Tensor) -> Tensor:
        return (weight.detach() * gradient.abs().log1p()).abs().sum()

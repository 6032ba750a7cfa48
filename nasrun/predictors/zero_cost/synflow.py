"""SynFlow: how much of a signal of ones passes through a network of positive weights.

H. Tanaka, D. Kunin, D. L. K. Yamins, S. Ganguli. Pruning neural networks without any data by
iteratively conserving synaptic flow. NeurIPS 2020, arXiv 2006.05467. As a score of
architectures: M. S. Abdelfattah, A. Mehrotra, L. Dudziak, N. D. Lane. Zero-Cost Proxies for
Lightweight NAS. ICLR 2021, arXiv 2101.08134.

    R = sum of the logits of an input of ones, all parameters replaced by their absolute values
    score = sum over weights w of |w dR/dw|

No images are looked at. It is computed in float64, since R multiplies up from layer to layer.

Deviations:
- Batch norm is in evaluation mode, where fresh statistics (mean 0, variance 1) make it the identity
  but for a factor of 1 / sqrt(1 + 1e-5) a layer; Abdelfattah et al. take it out.
- Weights are as the space initialises them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from nasrun.genotypes.genotype import Genotype
from nasrun.predictors.zero_cost.base import Computed, gradients, weights_of
from nasrun.protocols.data import TaskShape
from nasrun.protocols.settings import plugin


@plugin
class SynFlow(Computed):
    """The proxy; see the module's docstring."""

    name: ClassVar[str] = "synflow"
    instead: ClassVar[str] = "proxy=params"

    def score(self, genotype: Genotype) -> float:
        return self.of_network(self.untrained.network(genotype), self.untrained.shape)

    def of_network(self, network: nn.Module, shape: TaskShape) -> float:
        """Return the score of a network, which is changed."""
        network.to(torch.float64).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        ones_BCHW = torch.ones(
            1, shape.channels, *shape.size, dtype=torch.float64, device=self.untrained.device
        )
        weights = weights_of(network)
        gradient = gradients(network(ones_BCHW).sum(), weights)
        flows = [self.flow(*pair) for pair in zip(weights, gradient, strict=True)]
        return float(torch.stack(flows).sum())

    def flow(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return what one tensor of weights adds to the score."""
        return (weight.detach() * gradient).abs().sum()

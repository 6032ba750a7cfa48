"""Build the supernet and the derived networks of the toy space, a bilevel problem in closed form.

The image is averaged into three bands of four values per channel. An edge passes one band on,
amplified by the gain of its operation; what operation a, b, c, d does differs from edge to edge
(`GAINS_EO`). Classifiers of unit norm, one per band, are the weights:

    logits_k = sum_e gain_e <V_ek, band_e> / ||V_e||,     gain_e = sum_o weights_eo GAINS_eo

So gains only pay where the weights point the right way, and the weights cannot stand in for gains.
On two classes y = +1, -1 whose bands are y u_e with unit vectors u_e (both classes equally often)
the best weights are V_e = (u_e, -u_e), whatever the gains, and the cross-entropy is then

    log(1 + exp(-sqrt(2) sum_e gain_e)),

which falls in every gain: the optimum is the operation with the largest gain on each edge, (d, b,
a). The minimum over the 64 genotypes is log(1 + exp(-12 sqrt(2))), 4.3e-8; gradients with respect
to weights_eo are -sqrt(2) GAINS_eo / (1 + exp(sqrt(2) sum_e gain_e)).

Shapes: B batch, C channels, E = 3 edges, O = 4 operations, F = 4*C values of a band, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.compute.transfers import upload
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import Mixture, Statistics

GAINS_EO = (
    (0.0, 1.0, 2.0, 4.0),
    (1.0, 4.0, 0.0, 2.0),
    (4.0, 2.0, 1.0, 0.0),
)
VALUES_PER_BAND = 4


class ToySupernet(nn.Module):
    """A `nasrun.protocols.space.Supernet` for inputs of any size, images or signals."""

    gains_EO: Tensor

    def __init__(self, shape: TaskShape, active_EO: Tensor | None = None) -> None:
        super().__init__()
        self.skip_dropout = 0.0  # there are no skips
        gains_EO = torch.tensor(GAINS_EO)
        if active_EO is not None:
            gains_EO = gains_EO * active_EO.to(gains_EO)
        self.register_buffer("gains_EO", gains_EO, persistent=False)
        num_values = VALUES_PER_BAND * shape.channels
        directions_EKF = torch.randn(len(GAINS_EO), shape.num_classes, num_values)
        self.directions_EKF = nn.Parameter(_unit(directions_EKF))

    def forward(
        self,
        images_BCHW: Tensor,
        mixture: Mixture,
        *,
        statistics: Statistics = "update",
    ) -> Tensor:
        """Compute logits_BK."""
        weights_EO = mixture.weights["cell"]
        if mixture.active is not None:
            weights_EO = weights_EO * upload(mixture.active["cell"], weights_EO.device)
        gains_E = (weights_EO * self.gains_EO).sum(1)
        if mixture.gates is not None:
            gains_E = gains_E * mixture.gates["cell"]
        unit_EKF = _unit(self.directions_EKF)
        return torch.einsum("bef,ekf,e->bk", bands(images_BCHW), unit_EKF, gains_E)

    def each(
        self,
        images_BCHW: Tensor,
        mixtures: Iterable[Mixture],
        statistics: Statistics = "batch",
    ) -> Iterator[Tensor]:
        """Return logits_BK of each mixture, one after the other."""
        return (self(images_BCHW, mixture, statistics=statistics) for mixture in mixtures)


class ToyNetwork(nn.Module):
    """The network of a genotype: the supernet at its one-hot weights. It has no paths to drop."""

    weights_EO: Tensor

    def __init__(self, weights_EO: Tensor, shape: TaskShape) -> None:
        super().__init__()
        self.drop_path = 0.0
        self.supernet = ToySupernet(shape)
        self.register_buffer("weights_EO", weights_EO, persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.supernet(images_BCHW, Mixture({"cell": self.weights_EO}))
        return logits_BK

    def with_auxiliary(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and no auxiliary ones: the network has one head."""
        return self(images_BCHW), None


def bands(images_BCHW: Tensor) -> Tensor:
    """Average the input, read row by row, in 12 pieces per channel: bands_BEF."""
    pieces_BCP = F.adaptive_avg_pool1d(images_BCHW.flatten(2), len(GAINS_EO) * VALUES_PER_BAND)
    batch, channels, _ = pieces_BCP.shape
    pieces_BCEV = pieces_BCP.reshape(batch, channels, len(GAINS_EO), VALUES_PER_BAND)
    return pieces_BCEV.transpose(1, 2).flatten(2)


def _unit(directions_EKF: Tensor) -> Tensor:
    return F.normalize(directions_EKF.flatten(1), dim=1).view_as(directions_EKF)

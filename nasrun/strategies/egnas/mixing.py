"""Turn alpha, one vector of all cell types, into the mixing weights of a supernet, and back.

Shapes: E edges, O operations, D length of alpha (all cell types), N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nasrun.protocols.space import MixingWeights, Mixture


def softmax_per_edge(
    alpha_D: np.ndarray, alpha_shapes: Mapping[str, tuple[int, int]]
) -> dict[str, Tensor]:
    """Split alpha into its cell types, and apply the softmax to each edge, in float64.

    Returns float32, cell type -> weights_EO; or cell type -> weights_NEO for alphas_ND.
    """
    weights = {}
    for name, part_EO in per_edge(alpha_D, alpha_shapes).items():
        weights[name] = torch.softmax(torch.from_numpy(part_EO), dim=-1).float()
    return weights


def one_by_one(weights: MixingWeights) -> list[Mixture]:
    """Split cell type -> weights_NEO into the mixtures of the N candidates."""
    num_candidates = len(next(iter(weights.values())))
    return [Mixture({name: weights[name][n] for name in weights}) for n in range(num_candidates)]


def per_edge(
    alpha_D: np.ndarray, alpha_shapes: Mapping[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Return views of alpha (or alphas_ND): cell type -> alpha_EO (or alphas_NEO)."""
    parts, position = {}, 0
    for name, (edges, operations) in alpha_shapes.items():
        part_D = alpha_D[..., position : position + edges * operations]
        parts[name] = part_D.reshape(*alpha_D.shape[:-1], edges, operations)
        position += edges * operations
    return parts


def flat(weights: MixingWeights) -> np.ndarray:
    """Put all weights of all cell types behind each other, in the order of alpha; float64."""
    return torch.cat([weights[name].flatten() for name in weights]).double().numpy()

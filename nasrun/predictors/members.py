"""Train several small networks of one shape side by side, by batched matrix products.

A network is a mapping from names to tensors whose first dimension is the member, so that it can be
cached, copied and optimised as plain values. Shapes: M members, N inputs, I and O features in and
out of a layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Parameters = dict[str, Tensor]


def layers(widths: Sequence[int], num_members: int, generator: torch.Generator) -> Parameters:
    """Draw linear layers between the widths, initialised as `nn.Linear`; float32."""
    parameters = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        bound = 1 / math.sqrt(max(1, inputs))
        for name, rows in (("weight", inputs), ("bias", 1)):
            uniform = torch.rand(num_members, rows, outputs, generator=generator)
            parameters[f"{name}{layer}"] = (2 * uniform - 1) * bound
    return parameters


def multilayer(parameters: Parameters, inputs_MNI: Tensor) -> Tensor:
    """Apply all layers: features_MNO.

    Every layer is linear, followed by layer norm and ReLU, but for the last one.
    """
    num_layers = len(parameters) // 2
    features = inputs_MNI
    for layer in range(num_layers):
        # (M, 1, O) + (M, N, I) @ (M, I, O): all members in one call
        features = torch.baddbmm(parameters[f"bias{layer}"], features, parameters[f"weight{layer}"])
        if layer < num_layers - 1:
            features = functional.relu(functional.layer_norm(features, features.shape[-1:]))
    return features


def trainable(parameters: Parameters) -> Parameters:
    """Return a copy that requires gradients."""
    return {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}


def fixed(parameters: Parameters) -> Parameters:
    """Return the same tensors without their gradients."""
    return {name: tensor.detach() for name, tensor in parameters.items()}

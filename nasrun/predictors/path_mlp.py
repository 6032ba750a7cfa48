"""Predict by an ensemble of networks on path codes, as BANANAS does (arXiv 1910.11858).

Each member is a multilayer perceptron that learns, from weights of its own, the labels of all
architectures by their absolute error; the members' mean is the score, their spread its deviation.
The code has one bit for each of the most frequent paths from input to output.

Deviations: two hidden layers of 64 units with layer norm (public code: ten of 20, plain), and every
step sees all labels (32 of them): on NAS-Bench-201 that ranks as well, in a third of the time. The
targets are standardised ranks (accuracies), in which a failure is no more than the last one.
Operations that do nothing are no part of a path.

Shapes: M members, N architectures, D bits of the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from nasrun.graphs.codes import figures
from nasrun.graphs.paths import PathBits
from nasrun.predictors.members import Parameters, fixed, layers, multilayer, trainable
from nasrun.predictors.targets import standardised_ranks
from nasrun.protocols.predictor import Features, Prediction, Predictor, Unlabelled
from nasrun.protocols.settings import Count, Positive, Width, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams
from nasrun.training.optimisers import Adam
from nasrun.training.update import require_finite


@plugin
class PathMLP(Predictor):
    """The predictor of BANANAS, a `protocols.predictor.Predictor`; see the module's docstring."""

    generator: torch.Generator = field(kw_only=False)  # draws the first weights of every fit
    num_paths: Count  # D, bits of the code
    num_members: Annotated[int, Interval(ge=1, le=100)]  # M, networks trained side by side
    num_layers: Count
    width: Width  # units of each hidden layer
    num_epochs: Count  # optimiser steps, each over all labels
    learning_rate: Positive  # Adam's
    num_architectures: Count  # unlabelled; their paths are counted
    features: Features = "code"  # runs of earlier versions lack it

    def __post_init__(self) -> None:
        self.code = PathBits(())
        self._networks: Parameters = {}

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Choose the paths that get a bit: they are the same whatever the run's seed."""
        rng = RandomStreams(0).numpy("code")
        graphs, _ = unlabelled.draw(self.num_architectures, 0, rng)
        self.code = PathBits.frequent(graphs, self.num_paths)
        return {"code_bits": float(self.code.num_bits)}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        codes_ND = self._codes(graphs)
        targets_N = torch.from_numpy(standardised_ranks(values_N)).float()
        widths = [codes_ND.shape[1], *[self.width] * self.num_layers, 1]
        networks = trainable(layers(widths, self.num_members, self.generator))
        optimiser = Adam(networks.values(), lr=self.learning_rate, fused=True)
        for epoch in range(1, self.num_epochs + 1):
            error_MN = (scores(networks, codes_ND) - targets_N).abs()
            loss = error_MN.mean(dim=1).sum()
            require_finite(
                loss, f"loss of the predictor in epoch {epoch}", "predictor.learning_rate"
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        self._networks = fixed(networks)

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        """Return mean and deviation of the score over the members."""
        scores_MN = scores(self._networks, self._codes(graphs)).double().numpy()
        return Prediction(scores_MN.mean(axis=0), scores_MN.std(axis=0))

    def _codes(self, graphs: Sequence[ArchGraph]) -> Tensor:
        return torch.from_numpy(np.hstack([self.code.encode(graphs), figures(graphs)]))

    def state_dict(self) -> dict[str, Any]:
        return self.code.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.code = PathBits(**state)


def scores(networks: Parameters, codes_ND: Tensor) -> Tensor:
    """Return scores_MN."""
    num_members = len(networks["weight0"])
    return multilayer(networks, codes_ND.expand(num_members, -1, -1)).squeeze(-1)

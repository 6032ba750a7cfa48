"""Predict by ridge regression on the hard path code: the floor for a learnt encoder.

Closed form, over the labels rather than the bits: with centred codes C and targets t, which are
the standardised ranks of the values, the score of a centred code c is c C' (C C' + lambda I)^-1 t.
These three lines are ours: to import scikit-learn's takes longer than all that they do in a search.

Shapes: N architectures, D bits of the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
import torch

from nasrun.graphs.codes import code_from_state, figures
from nasrun.graphs.paths import PathCode
from nasrun.predictors.targets import standardised_ranks
from nasrun.protocols.predictor import Features, Prediction, Predictor, Unlabelled
from nasrun.protocols.settings import Count, Positive, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress
from nasrun.randomness import RandomStreams


@plugin
class Ridge(Predictor):
    """Ridge regression as a `protocols.predictor.Predictor`; see the module's docstring."""

    generator: torch.Generator = field(kw_only=False)  # not used; nothing is random here
    penalty: Positive  # lambda
    num_architectures: Count  # unlabelled; the width of the code is taken from them
    features: Features = "code"  # runs of earlier versions lack it

    def __post_init__(self) -> None:
        self.code = PathCode((), 1, 0)
        self._mean_D = np.zeros(1)
        self._weights_D = np.zeros(1)

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Fix the width of the code: it is the same whatever the run's seed."""
        rng = RandomStreams(0).numpy("code")
        graphs, _ = unlabelled.draw(self.num_architectures, 0, rng)
        self.code = PathCode.fitting(graphs)
        return {"code_bits": float(self.code.num_bits)}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        codes_ND = self._codes(graphs)
        self._mean_D = codes_ND.mean(axis=0)
        centred_ND = codes_ND - self._mean_D
        # N x N in place of D x D: there are mostly fewer labels than bits
        gram_NN = centred_ND @ centred_ND.T + self.penalty * np.eye(len(graphs))
        self._weights_D = centred_ND.T @ np.linalg.solve(gram_NN, standardised_ranks(values_N))

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        score_N = (self._codes(graphs) - self._mean_D) @ self._weights_D
        return Prediction(score_N, np.zeros_like(score_N))

    def _codes(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        return np.hstack([self.code.encode(graphs), figures(graphs)]).astype(np.float64)

    def state_dict(self) -> dict[str, Any]:
        return {"code": self.code.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        code = code_from_state(state["code"])
        assert isinstance(code, PathCode)
        self.code = code

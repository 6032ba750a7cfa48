"""The seam of predictors: what they see, what they learn from and what they answer.

A part of `protocols` in a file of its own. Shapes: N architectures, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress


class Unlabelled(Protocol):
    """Architectures without labels: what pre-training learns from."""

    def fingerprint(self) -> str:
        """A checksum that differs where the architectures do; cheap."""

    def draw(
        self, num_architectures: int, num_pairs: int, rng: np.random.Generator
    ) -> tuple[list[ArchGraph], np.ndarray]:
        """At least `num_architectures` graphs (all, where there are not more), and pairs_P2,
        int64: which two of them are one edit apart."""


class Prediction(NamedTuple):
    """Scores of N architectures, higher is better, and how unsure they are (0 where not known).

    Both float64, in units of their own: only comparisons within one prediction mean something.
    """

    score_N: np.ndarray
    deviation_N: np.ndarray


class Predictor(Protocol):
    """Learns to rank architectures from graphs. Constructed with a `generator` (torch) of its own,
    then the keywords of `conf/predictor/<name>.yaml`."""

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Whatever can be learnt without labels, once and before `fit`. Returns metrics."""

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        """Learn from labels, higher is better; -inf is a failure. Forgets earlier fits."""

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction: ...

    def state_dict(self) -> dict[str, Any]:
        """What `pretrain` left; a fit is not part of it."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Ranking:
    """Predicted against true: scores in units of their own, accuracies in [0, 1]."""

    score_N: np.ndarray
    accuracy_N: np.ndarray

    @property
    def tau(self) -> float | None:
        """Kendall's tau; `None` where either has no order."""
        from scipy.stats import kendalltau

        if len(np.unique(self.score_N)) < 2 or len(np.unique(self.accuracy_N)) < 2:
            return None
        return float(kendalltau(self.score_N, self.accuracy_N).statistic)

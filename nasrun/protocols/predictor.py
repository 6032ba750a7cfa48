"""Define what a predictor sees, what it learns from and what it answers.

Shapes: N architectures, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from nasrun.protocols.ranks import kendall_tau
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress

Features = Literal["code", "code+size", "code+zero_cost", "code+size+zero_cost"]
"""What a predictor reads: the graph, and what is known of an architecture for nothing.

`size` are parameters and multiply-adds, `zero_cost` scores that need no training, each as its
percentile among the architectures of the space, of mean 0 and deviation 1.
"""


class Unlabelled(Protocol):
    """Architectures without labels: what pre-training learns from."""

    def fingerprint(self) -> str:
        """Return a checksum that differs where the architectures do; it is cheap."""

    def draw(
        self, num_architectures: int, num_pairs: int, rng: np.random.Generator
    ) -> tuple[list[ArchGraph], np.ndarray]:
        """Draw at least `num_architectures` graphs (all, where there are not more), and pairs.

        pairs_P2, int64, says which two of them are one edit apart.
        """


class Prediction(NamedTuple):
    """Scores of N architectures, higher is better, and how unsure they are (0 where not known).

    Both float64, in units of their own: only comparisons within one prediction mean something.
    """

    score_N: np.ndarray
    deviation_N: np.ndarray


class Predictor(Protocol):
    """A model that learns to rank architectures from graphs.

    It is constructed with a `generator` (torch) of its own, then the keywords of
    `conf/predictor/<name>.yaml`.
    """

    features: Features = "code"  # whatever is more stands in the `figures` of each graph

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Learn what can be learnt without labels, once and before `fit`; return metrics."""

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        """Learn from labels, higher is better; -inf is a failure. Earlier fits are forgotten."""

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction: ...

    def state_dict(self) -> dict[str, Any]:
        """Return what `pretrain` left; a fit is not part of it."""

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Ranking:
    """Predicted scores, in units of their own, and true accuracies in [0, 1]."""

    score_N: np.ndarray
    accuracy_N: np.ndarray

    @property
    def tau(self) -> float | None:
        """Return Kendall's tau; `None` where either has no order."""
        if len(np.unique(self.score_N)) < 2 or len(np.unique(self.accuracy_N)) < 2:
            return None
        return kendall_tau(self.score_N, self.accuracy_N)

"""Predict by a Gaussian process on Weisfeiler-Lehman labels and graph statistics: a floor.

Features (after Ru et al., ICLR 2021, arXiv 2006.07556): roots of how often each label occurs, where
the label of a vertex is first its operation and then, `depth` times, its own with those of its
predecessors, and once more with its successors (both together ranked NAS-Bench-101 worse); beside
them counts, degrees and path lengths that cost nothing to know. The kernel is
k(x, x') = exp(-|x - x'|^2 / (2 l^2)), the targets are normal scores (standardised ranks tell the
best too little apart), and length-scale l and noise are those of the highest marginal likelihood
log p(t) = -t' (K + noise^2 I)^-1 t / 2 - log det(K + noise^2 I) / 2 + constant (Rasmussen and
Williams 2006, Eq. 2.30); mean and deviation of the prediction are their Eq. 2.25 and 2.26. Ours and
not scikit-learn's, which takes no list of length-scales and computes all distances for each anew.

Shapes: N labelled and C other architectures, F features, V vertices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval, MinLen
from scipy.linalg import solve_triangular

from nasrun.graphs.codes import figures
from nasrun.graphs.kernel_regression import Posterior, likeliest, squared_distances
from nasrun.graphs.kernels import label_counts, statistics
from nasrun.predictors.targets import normal_scores
from nasrun.protocols.predictor import Features, Prediction, Predictor, Unlabelled
from nasrun.protocols.settings import NotNegative, Positive, plugin
from nasrun.protocols.space import ArchGraph
from nasrun.protocols.state import Progress


@plugin
class GaussianProcess(Predictor):
    """A Gaussian process as a `protocols.predictor.Predictor`; see the module's docstring."""

    generator: torch.Generator = field(kw_only=False)  # not used; nothing is random here
    depth: Annotated[int, Interval(ge=0, le=100)]  # rounds of relabelling
    statistics_weight: NotNegative  # a standardised statistic's, against the root of a count
    length_scales: Annotated[list[Positive], MinLen(1)]
    """To choose from, in typical distances between labelled architectures."""
    noises: Annotated[list[Positive], MinLen(1)]  # to choose from, in deviations of the targets
    features: Features = "code"  # runs of earlier versions lack it

    def __post_init__(self) -> None:
        self._labels: list[str] = []
        self._shift_F = self._scale_F = np.zeros(0)
        self._features_NF = np.zeros((0, 0))
        self._unit = 1.0
        self._posterior: Posterior

    def pretrain(self, unlabelled: Unlabelled, progress: Progress) -> dict[str, float]:
        """Learn nothing: all that is learnt needs labels."""
        return {}

    def fit(self, graphs: Sequence[ArchGraph], values_N: np.ndarray) -> None:
        self._labels = sorted({label for graph in graphs for label in graph.labels})
        statistics_NF = self._statistics(graphs)
        deviation_F = statistics_NF.std(axis=0)
        self._shift_F = statistics_NF.mean(axis=0)
        # What never varied says nothing, and gets a scale of 0.
        self._scale_F = self.statistics_weight / np.where(deviation_F > 0, deviation_F, np.inf)
        self._features_NF = self._features(graphs)
        self._posterior, self._unit = likeliest(
            self._features_NF, normal_scores(values_N), self.length_scales, self.noises
        )

    def score(self, graphs: Sequence[ArchGraph]) -> Prediction:
        process = self._posterior
        distances_CN = squared_distances(self._features(graphs), self._features_NF) / self._unit
        kernel_CN = np.exp(-0.5 * distances_CN / process.length_scale**2)
        # Eq. 2.26 by the triangular factor: |L^-1 k|^2 = k' (K + noise^2 I)^-1 k, and k(x, x) = 1.
        explained_NC = solve_triangular(process.factor_NN, kernel_CN.T, lower=True)
        variance_C = 1.0 - np.square(explained_NC).sum(axis=0)
        return Prediction(kernel_CN @ process.weights_N, np.sqrt(np.maximum(variance_C, 0.0)))

    def _features(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        statistics_NF = self._statistics(graphs)
        counts_NF = np.stack([label_counts(graph, self.depth) for graph in graphs])
        return np.hstack(
            [np.sqrt(counts_NF, dtype=np.float64), (statistics_NF - self._shift_F) * self._scale_F]
        )

    def _statistics(self, graphs: Sequence[ArchGraph]) -> np.ndarray:
        counted_NF = np.array([statistics(graph, self._labels) for graph in graphs])
        return np.hstack([counted_NF, figures(graphs)])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing: everything comes from the labels."""

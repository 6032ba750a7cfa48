"""Measure how good predictions are, from how often each class was taken for each.

Shapes: N inputs, K classes; a confusion_KK counts by true class (row) and predicted class (column).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasrun.protocols.data import MetricName


def confusion(predicted_N: Tensor, labels_N: Tensor, num_classes: int) -> Tensor:
    """Count confusion_KK, float64, on the device of the predictions."""
    cells_N = labels_N * num_classes + predicted_N
    counts = torch.bincount(cells_N, minlength=num_classes**2)
    return counts.view(num_classes, num_classes).double()


def accuracy(confusion_KK: Tensor) -> Tensor:
    """Return the share of inputs whose class is right."""
    return confusion_KK.diagonal().sum() / confusion_KK.sum()


def balanced_accuracy(confusion_KK: Tensor) -> Tensor:
    """Return the mean sensitivity (recall) of the classes that there are in truth."""
    true_K = confusion_KK.sum(1)
    return (confusion_KK.diagonal() / true_K.clamp_min(1))[true_K > 0].mean()


def macro_f1(confusion_KK: Tensor) -> Tensor:
    """Return the mean F1 of the classes that there are, in truth or in predictions."""
    count_K = confusion_KK.sum(0) + confusion_KK.sum(1)
    return (2 * confusion_KK.diagonal() / count_K.clamp_min(1))[count_K > 0].mean()


METRICS: Mapping[MetricName, Callable[[Tensor], Tensor]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
"""What a search can maximise: fractions in [0, 1]."""


def measured(metric: MetricName, logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return the metric of predictions, a float64 scalar on their device."""
    predicted_N = logits_NK.argmax(1)
    if metric == "accuracy":
        return (predicted_N == labels_N).double().mean()
    return METRICS[metric](confusion(predicted_N, labels_N, logits_NK.shape[1]))


@dataclass(frozen=True)
class Quality:
    """How good a network is on labelled inputs.

    `confusion_KK` counts inputs by true class (row) and predicted class (column).
    """

    classes: tuple[str, ...]
    confusion_KK: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion_KK) / self.confusion_KK.sum())

    @property
    def balanced_accuracy(self) -> float:
        return float(balanced_accuracy(self._counts_KK))

    @property
    def macro_f1(self) -> float:
        return float(macro_f1(self._counts_KK))

    @property
    def _counts_KK(self) -> Tensor:
        return torch.from_numpy(self.confusion_KK.astype(np.float64))

    def per_class(self) -> list[dict[str, Any]]:
        """List figures of each class, NaN-free: 0 where nothing was predicted.

        They are precision (positive predictivity), recall (sensitivity) and F1.
        """
        right_K = np.diag(self.confusion_KK).astype(float)
        true_K, said_K = self.confusion_KK.sum(1), self.confusion_KK.sum(0)
        precision_K = right_K / np.maximum(said_K, 1)
        recall_K = right_K / np.maximum(true_K, 1)
        f1_K = 2 * right_K / np.maximum(true_K + said_K, 1)
        return [
            {
                "class": name,
                "count": int(true_K[k]),
                "precision": float(precision_K[k]),
                "recall": float(recall_K[k]),
                "f1": float(f1_K[k]),
            }
            for k, name in enumerate(self.classes)
        ]

"""Make labels of short and of full trainings comparable, for a predictor that learns from both.

With successive halving on a table (`evaluator.halving`) the losers of a round have only the
accuracy after a short training, which is lower than what a full one would give. The winners have
both. The line that fits theirs says what a loser would have had: the first term of Kennedy and
O'Hagan (Biometrika 87, 2000), whose further terms need more labels than a search has.

Shapes: N labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.labels import validation_error

LEAST = 3  # labels of both kinds, for a line; of fewer the mean difference counts


def comparable(labels: Sequence[Evaluation]) -> np.ndarray:
    """Return accuracy_N, float64: of losers what a full training is expected to give.

    They are the labels' own where all were trained alike, or none in full; -inf is a failure.
    """
    accuracy_N = 1.0 - np.array([validation_error(label) for label in labels])
    short_N = np.array([label.details.get("short_val_accuracy", np.nan) for label in labels])
    full_N = np.array([label.details.get("fully_trained", 1.0) for label in labels]) > 0
    both_N = full_N & np.isfinite(short_N) & np.isfinite(accuracy_N)
    lost_N = ~full_N & np.isfinite(accuracy_N)
    if not both_N.any() or not lost_N.any():
        return accuracy_N
    slope, offset = 1.0, float((accuracy_N[both_N] - short_N[both_N]).mean())
    if both_N.sum() >= LEAST and np.ptp(short_N[both_N]) > 0:
        fitted, at_0 = np.polyfit(short_N[both_N], accuracy_N[both_N], 1)
        if fitted > 0:  # a line that falls is chance
            slope, offset = float(fitted), float(at_0)
    return np.where(lost_N, slope * accuracy_N + offset, accuracy_N)

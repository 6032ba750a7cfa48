"""Turn accuracies into targets for a predictor that depend on their order alone."""

from __future__ import annotations

import numpy as np

from nasrun.graphs.kernel_regression import normal_quantiles
from nasrun.protocols.ranks import ranks


def standardised_ranks(values_N: np.ndarray) -> np.ndarray:
    """Return targets of mean 0 and deviation 1 that depend on the order alone.

    Equal values share one target. What counts in a search is the order, and a failed label (-inf)
    is no more than the last one.
    """
    ranks_N = ranks(values_N)
    deviation = float(ranks_N.std())
    return (ranks_N - ranks_N.mean()) / deviation if deviation > 0 else np.zeros(len(ranks_N))


def normal_scores(values_N: np.ndarray) -> np.ndarray:
    """Return targets as `standardised_ranks` does, but spread as a normal distribution.

    Differences among the best then count for more than those in the middle.
    """
    scores_N = normal_quantiles(values_N)
    deviation = float(scores_N.std())
    return (scores_N - scores_N.mean()) / deviation if deviation > 0 else np.zeros(len(scores_N))

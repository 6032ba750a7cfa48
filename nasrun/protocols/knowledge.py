"""Define what is known of architectures before any label is bought, and who can say it.

Shapes: N architectures, F figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from nasrun.genotypes.genotype import Genotype

Initial = Literal["random", "largest", "zero_cost"]
"""Where first labels go: anywhere, or to random ones of the most promising tenth."""

Knowledge = Literal["size", "zero_cost"]
"""What can be known for nothing: how large a network is; scores that need no training."""


class FreeScores(Protocol):
    """Figures of architectures that cost no label; the higher each is, the more promising.

    They may come from a formula, a table, or an untrained network and a batch of images.
    """

    names: tuple[str, ...]  # of the F figures
    how: str  # where they come from, as a person reads it
    num_affordable: int  # architectures of a large space that are scored
    takes_time: bool = False  # whether a checkpoint keeps them, since they take seconds or minutes

    def values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Return values_NF, float64. What is not finite counts as the least promising."""


def mean_ranks(values_NF: np.ndarray) -> np.ndarray:
    """Return rank_N in [0, 1], the mean over the figures; equal values share a rank.

    >>> mean_ranks(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 7.0]])).tolist()
    [0.125, 0.625, 0.75]
    """
    from scipy.stats import rankdata

    rank_NF = rankdata(np.where(np.isfinite(values_NF), values_NF, -np.inf), axis=0) - 1
    mean_N: np.ndarray = rank_NF.mean(axis=1) / max(1, len(values_NF) - 1)
    return mean_N

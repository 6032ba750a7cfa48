"""Rank all groups against each other on the seeds that they have in common (Friedman, 1937).

Comparisons of two need six seeds before they can tell anything; this one test of all groups can
tell with fewer that they are not alike, though not which of them differ.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from nasrun.report.statistics import ranks

MIN_GROUPS, MIN_SEEDS = 3, 3


@dataclass(frozen=True)
class Ranking:
    """The mean rank of each group, 1 the best, and how likely such ranks are among equals.

    Attributes:
        p: of Friedman's test, by the chi-squared distribution, which is rough for few seeds; 1
            where all groups are equal.
        agreement: Kendall's W, from 0 (the seeds rank as if by chance) to 1 (all in one order).
    """

    dataset: str
    num_seeds: int
    mean_ranks: Mapping[str, float]
    p: float
    agreement: float


def rank(
    dataset: str, values: Mapping[str, Mapping[Hashable, float]], higher_is_better: bool
) -> Ranking | None:
    """Rank groups, given the value of each seed by the group's name; `None` for too few."""
    if len(values) < MIN_GROUPS:
        return None
    first, *others = values.values()
    common = [seed for seed in first if all(seed in other for other in others)]
    if len(common) < MIN_SEEDS:
        return None
    values_SG = np.array([[group[seed] for group in values.values()] for seed in common]).round(12)
    sign = -1.0 if higher_is_better else 1.0
    ranks_SG = np.array([ranks(sign * row_G) for row_G in values_SG])
    agreement, p = _friedman(values_SG)
    means = dict(zip(values, ranks_SG.mean(axis=0).tolist(), strict=True))
    return Ranking(dataset, len(common), means, p, agreement)


def _friedman(values_SG: np.ndarray) -> tuple[float, float]:
    """Return Kendall's W and p; ties are corrected for."""
    if (values_SG == values_SG[:, :1]).all():
        return 0.0, 1.0
    from scipy.stats import friedmanchisquare  # takes a second

    num_seeds, num_groups = values_SG.shape
    found = friedmanchisquare(*values_SG.T)
    return float(found.statistic) / (num_seeds * (num_groups - 1)), float(found.pvalue)

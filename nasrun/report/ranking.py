"""Rank all groups against each other: on common seeds, and methods over several tasks.

Comparisons of two need six seeds before they can tell anything; one test of all groups (Friedman,
1937) can tell with fewer that they are not alike. Which of them differ over several tasks says
Nemenyi's critical difference (Demšar, Statistical Comparisons of Classifiers over Multiple Data
Sets, JMLR 7, 2006, section 3.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasrun.protocols.ranks import ranks
from nasrun.report.statistics import LEVEL

MIN_GROUPS, MIN_SEEDS, MIN_TASKS = 3, 3, 3


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
    values_SG = np.array([[group[seed] for group in values.values()] for seed in common])
    ranks_SG = _ranks(values_SG, higher_is_better)
    statistic, p = friedman(ranks_SG)
    agreement = statistic / (len(common) * (len(values) - 1))
    means = dict(zip(values, ranks_SG.mean(axis=0).tolist(), strict=True))
    return Ranking(dataset, len(common), means, p, agreement)


def _ranks(values_SG: np.ndarray, higher_is_better: bool) -> np.ndarray:
    sign = -1.0 if higher_is_better else 1.0
    return np.array([ranks(sign * row_G) for row_G in values_SG.round(12)])


def friedman(ranks_SG: np.ndarray) -> tuple[float, float]:
    """Return Friedman's statistic of ranks in rows, corrected for ties, and its p.

    They are 0 and 1 where all columns are equal.
    """
    if (ranks_SG == ranks_SG[:, :1]).all():
        return 0.0, 1.0
    from scipy.stats import friedmanchisquare  # takes a second

    found = friedmanchisquare(*ranks_SG.T)
    return float(found.statistic), float(found.pvalue)


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks over tasks, and how far apart they must be.

    Attributes:
        mean_ranks: of each method over the tasks, 1 the best; the best first.
        p: of Friedman's test in Iman and Davenport's form (1980).
        critical: mean ranks that differ by less are not told apart (Nemenyi, 1963, level .05).
        alike: sets of methods that are not told apart, as long as can be, the best first.
    """

    num_tasks: int
    mean_ranks: Mapping[str, float]
    p: float
    critical: float
    alike: tuple[tuple[str, ...], ...]


def critical_difference(
    values: Mapping[str, Sequence[float]], higher_is_better: bool
) -> CriticalDifference | None:
    """Rank methods by their value on each task; `None` for too few methods or tasks."""
    num_tasks = min((len(of_tasks) for of_tasks in values.values()), default=0)
    if len(values) < MIN_GROUPS or num_tasks < MIN_TASKS:
        return None
    ranks_MG = _ranks(np.array(list(values.values())).T, higher_is_better)
    means = sorted(zip(values, ranks_MG.mean(axis=0).tolist(), strict=True), key=lambda one: one[1])
    critical = nemenyi(len(values)) * math.sqrt(len(values) * (len(values) + 1) / (6 * num_tasks))
    statistic, _ = friedman(ranks_MG)
    p = iman_davenport_p(statistic, num_tasks, len(values))
    return CriticalDifference(num_tasks, dict(means), p, critical, _alike(means, critical))


def iman_davenport_p(statistic: float, num_tasks: int, num_groups: int) -> float:
    """Return p of F = (n - 1) X / (n (k - 1) - X) for Friedman's X, less shy than chi-squared."""
    from scipy.stats import f as f_distribution

    left = num_tasks * (num_groups - 1) - statistic
    if left <= 1e-12:  # all tasks have the same order
        return 0.0
    f = (num_tasks - 1) * statistic / left
    between, within = num_groups - 1, (num_groups - 1) * (num_tasks - 1)
    return float(f_distribution.sf(f, between, within))


def nemenyi(num_groups: int, level: float = LEVEL) -> float:
    """Return q, by which Nemenyi's critical difference is q sqrt(k (k + 1) / 6 n).

    It is the quantile of the studentized range of k values with infinite degrees of freedom,
    divided by sqrt 2.
    """
    from scipy.stats import studentized_range

    return float(studentized_range.isf(level, num_groups, math.inf)) / math.sqrt(2)


def _alike(means: Sequence[tuple[str, float]], critical: float) -> tuple[tuple[str, ...], ...]:
    """Return the longest runs of neighbours within the critical difference, two or more in each."""
    found: list[tuple[str, ...]] = []
    reach = 0
    for start, (_, first) in enumerate(means):
        end = max(i for i, (_, rank) in enumerate(means) if rank - first <= critical) + 1
        if end > reach and end - start > 1:
            found.append(tuple(name for name, _ in means[start:end]))
        reach = max(reach, end)
    return tuple(found)

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

from nasrun.report.statistics import LEVEL, ranks

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
    statistic = friedman(ranks_SG)
    agreement = statistic / (len(common) * (len(values) - 1))
    means = dict(zip(values, ranks_SG.mean(axis=0).tolist(), strict=True))
    return Ranking(dataset, len(common), means, _chi_squared_p(statistic, len(values)), agreement)


def _ranks(values_SG: np.ndarray, higher_is_better: bool) -> np.ndarray:
    sign = -1.0 if higher_is_better else 1.0
    return np.array([ranks(sign * row_G) for row_G in values_SG.round(12)])


def friedman(ranks_SG: np.ndarray) -> float:
    """Return Friedman's statistic of ranks in rows, corrected for ties; 0 where all are equal.

    12 / (n k (k + 1)) sum of R^2 - 3 n (k + 1), with the sums of ranks R of k columns in n rows,
    divided by 1 - sum of (t^3 - t) / (n (k^3 - k)) over the ties of t (Conover, 1999).
    """
    n, k = ranks_SG.shape
    sums_G = ranks_SG.sum(axis=0)
    ties = [np.unique(row_G, return_counts=True)[1] for row_G in ranks_SG]
    whole = 1 - sum(float((t**3 - t).sum()) for t in ties) / (n * (k**3 - k))
    if whole <= 0:
        return 0.0
    plain = 12 / (n * k * (k + 1)) * float((sums_G**2).sum()) - 3 * n * (k + 1)
    return max(0.0, plain) / whole


def _chi_squared_p(statistic: float, num_groups: int) -> float:
    from scipy.special import chdtrc  # scipy.stats takes a second to import

    return float(chdtrc(num_groups - 1, statistic))


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
    p = iman_davenport_p(friedman(ranks_MG), num_tasks, len(values))
    return CriticalDifference(num_tasks, dict(means), p, critical, _alike(means, critical))


def iman_davenport_p(statistic: float, num_tasks: int, num_groups: int) -> float:
    """Return p of F = (n - 1) X / (n (k - 1) - X) for Friedman's X, less shy than chi-squared."""
    from scipy.special import fdtrc

    left = num_tasks * (num_groups - 1) - statistic
    if left <= 1e-12:  # all tasks have the same order
        return 0.0
    f = (num_tasks - 1) * statistic / left
    return float(fdtrc(num_groups - 1, (num_groups - 1) * (num_tasks - 1), f))


def nemenyi(num_groups: int, level: float = LEVEL) -> float:
    """Return q, by which Nemenyi's critical difference is q sqrt(k (k + 1) / 6 n).

    It is the quantile of the range of k normal values, P(range < x) = k times the integral of
    phi(z) (Phi(z) - Phi(z - x))^(k - 1), divided by sqrt 2.
    """
    from scipy.special import ndtr

    z, step = np.linspace(-8.0, 16.0, 4801, retstep=True)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    low, high = 0.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = (ndtr(z) - ndtr(z - middle)) ** (num_groups - 1)
        below = num_groups * float((density * inside).sum()) * step < 1 - level
        low, high = (middle, high) if below else (low, middle)
    return high / math.sqrt(2)


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

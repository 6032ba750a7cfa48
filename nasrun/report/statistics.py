"""Compute means with intervals, and paired comparisons that say when they cannot tell.

Intervals are ours, a few lines and equal to those of `scipy.stats` (see the tests): to import that
takes a second, which a report of few groups does without. The signed rank test is ours, because
scipy's is exact only without ties, and Holm's correction, because scipy has none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from nasrun.protocols.ranks import ranks

LEVEL = 0.05
NUM_BOOTSTRAPS = 10_000
MIN_PAIRS = 6  # with fewer, even the most extreme outcome has p >= 2 / 2**5 = .0625
MIN_FOR_INTERVAL = 3
MAX_EXACT = 50  # differences whose signs are counted out; beyond, the normal approximation is close
MAX_KEPT = 4_000_000  # weights of bootstrap samples that are kept for the next group of that size
ROUNDING = 1e-9  # smaller differences count as none

Clusters = Sequence[Hashable] | None
"""Of each value, which cluster it is in; `None` where all values are independent."""

Verdict = Literal["first", "second", "no difference shown", "cannot tell"]


@dataclass(frozen=True)
class Summary:
    """The values of a group's runs in brief.

    `std` is the sample standard deviation (n - 1); it and `interval` are `None` where n is too
    small.
    """

    n: int
    mean: float
    std: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison of paired values: `first` minus `second`.

    Attributes:
        units: how many of the values are independent: the pairs, or the clusters that they are in.
        p: of Wilcoxon's signed rank test, two-sided, zero differences ranked (Pratt).
        p_holm: the same, corrected for all comparisons made beside this one.
        effect: matched-pairs rank-biserial correlation, in [-1, 1]: 1 if all differences are
            positive, 0 if both signs have the same weight.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    wins: int
    losses: int
    p: float | None
    effect: float | None
    p_holm: float | None = None
    verdict: Verdict = "cannot tell"
    units: int = 0
    deviation: float | None = None  # of the differences of the units; `None` for fewer than two

    @property
    def ties(self) -> int:
        return self.n - self.wins - self.losses

    def wins_weigh_more(self, higher_is_better: bool) -> bool:
        """Return whether the first is ahead by the ranks, which the test is about."""
        return ((self.effect or 0.0) > 0) == higher_is_better


def summarise(values: Sequence[float], clusters: Clusters = None) -> Summary:
    """Summarise at least one value; see `Summary`."""
    bounds = interval(np.asarray(values), clusters)
    return Summary(len(values), *mean_and_deviation(values), bounds)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and sample standard deviation; one value has no deviation."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), deviation


def interval(values_N: np.ndarray, clusters: Clusters = None) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean (Efron, 1979).

    It is the same at each call. Values that share a cluster are not independent: clusters are drawn
    first, then values within each (Davison and Hinkley, 1997, section 3.8).
    """
    n = len(values_N) if clusters is None else len(set(clusters))
    if n < MIN_FOR_INTERVAL:
        return None
    if clusters is not None:
        means_R = bootstrap_weights(len(values_N), clusters) @ values_N
    elif n * NUM_BOOTSTRAPS <= MAX_KEPT:
        means_R = _drawn_weights(n) @ values_N
    else:
        means_R = values_N[_drawn(n)].mean(axis=1)
    low, high = np.quantile(means_R, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


def _drawn(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, n, (NUM_BOOTSTRAPS, n))


@lru_cache(maxsize=4)
def _drawn_weights(n: int) -> np.ndarray:
    """Return the same samples as weights_RN, which the groups of one size share."""
    places_RN = _drawn(n) + n * np.arange(NUM_BOOTSTRAPS)[:, None]
    counts = np.bincount(places_RN.ravel(), minlength=NUM_BOOTSTRAPS * n)
    return counts.reshape(NUM_BOOTSTRAPS, n) / n


def bootstrap_weights(
    n: int, clusters: Clusters = None, num_samples: int = NUM_BOOTSTRAPS, seed: int = 0
) -> np.ndarray:
    """Draw bootstrap samples of n values as the weight that each value has in a mean, weights_RN.

    Counts in place of the values, so that all means are one matrix product.
    """
    if clusters is None:
        return _independent_weights(n, num_samples, seed)
    rng = np.random.default_rng(seed)
    _, member_N = np.unique([repr(one) for one in clusters], return_inverse=True)
    num_clusters = int(member_N.max()) + 1
    even = np.full(num_clusters, 1 / num_clusters)
    times_RK = rng.multinomial(num_clusters, even, num_samples)
    counts_RN = np.zeros((num_samples, n))
    for k in range(num_clusters):
        inside = np.flatnonzero(member_N == k)
        size = len(inside)
        counts_RN[:, inside] = rng.multinomial(times_RK[:, k] * size, np.full(size, 1 / size))
    weights_RN: np.ndarray = counts_RN / counts_RN.sum(axis=1, keepdims=True)
    return weights_RN


@lru_cache(maxsize=16)
def _independent_weights(n: int, num_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), num_samples) / n


def compare(
    first: Sequence[float],
    second: Sequence[float],
    higher_is_better: bool,
    clusters: Clusters = None,
) -> Comparison:
    """Compare paired values of two groups; wins are those of the first.

    Pairs that share a cluster are not independent: the test, its ranks and so the verdict are about
    the mean difference of each cluster.
    """
    gains_N = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    gains_N = gains_N.round(12)  # equal steps of accuracy must be equal, to share a rank
    gains_N[np.abs(gains_N) < ROUNDING] = 0.0
    sign = 1 if higher_is_better else -1
    n = len(gains_N)
    gains_U = gains_N if clusters is None else _means_of(gains_N, clusters)
    return Comparison(
        n,
        float(gains_N.mean()) if n else 0.0,
        interval(gains_N, clusters),
        wins=int((sign * gains_N > 0).sum()),
        losses=int((sign * gains_N < 0).sum()),
        p=signed_rank_p(gains_U) if len(gains_U) >= MIN_PAIRS else None,
        effect=rank_biserial(gains_U) if n else None,
        units=len(gains_U),
        deviation=float(gains_U.std(ddof=1)) if len(gains_U) > 1 else None,
    )


def _means_of(gains_N: np.ndarray, clusters: Sequence[Hashable]) -> np.ndarray:
    """Return the mean of each cluster, rounded as the values are."""
    members: dict[Hashable, list[float]] = {}
    for gain, cluster in zip(gains_N, clusters, strict=True):
        members.setdefault(cluster, []).append(gain)
    means_U = np.array([np.mean(gains) for gains in members.values()]).round(12)
    means_U[np.abs(means_U) < ROUNDING] = 0.0
    return means_U


def signed_rank_p(gains_N: np.ndarray) -> float:
    """Return p of Wilcoxon's signed rank test, two-sided; zeros are ranked, then left out (Pratt).

    Up to 50 differences all ways to give signs to the ranks at hand are counted, ties included;
    beyond, the normal approximation is taken, with the variance of those ranks.
    """
    ranks_N = ranks(np.abs(gains_N))[gains_N != 0]
    positive = float(ranks(np.abs(gains_N))[gains_N > 0].sum())
    if len(gains_N) > MAX_EXACT:
        deviation = 0.5 * math.sqrt(float((ranks_N**2).sum()))
        return math.erfc(abs(positive - ranks_N.sum() / 2) / deviation / math.sqrt(2))
    doubled_N = (2 * ranks_N).round().astype(int)  # ranks of ties end in .5
    ways = np.ones(1)  # how many signs give each sum of positive ranks
    for rank in doubled_N.tolist():
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    at = round(2 * positive)
    tail = min(ways[: at + 1].sum(), ways[at:].sum()) / 2.0 ** len(doubled_N)
    return min(1.0, 2.0 * float(tail))


def rank_biserial(gains_N: np.ndarray) -> float:
    """Return the matched-pairs rank-biserial correlation (Kerby, 2014).

    It is the rank sum of the positive less that of the negative differences, divided by both; ranks
    are as in Pratt's test.
    """
    ranks_N = ranks(np.abs(gains_N))
    positive, negative = ranks_N[gains_N > 0].sum(), ranks_N[gains_N < 0].sum()
    return float((positive - negative) / (positive + negative)) if gains_N.any() else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for many comparisons, in the given order (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def judge(comparisons: Sequence[Comparison], higher_is_better: bool) -> list[Comparison]:
    """Add Holm's correction over all comparisons that have a p value, and a verdict.

    `cannot tell` stands where the pairs are so few that no outcome whatever could have been
    significant beside so many other comparisons; `no difference shown` where one could have been.
    """
    tested = [item.p for item in comparisons if item.p is not None]
    corrected = iter(holm(tested))
    judged = []
    for item in comparisons:
        if item.p is None:
            judged.append(item)
            continue
        p_holm = next(corrected)
        smallest = len(tested) * 2.0 ** (1 - item.units)
        verdict: Verdict = "no difference shown" if smallest < LEVEL else "cannot tell"
        if p_holm < LEVEL:
            verdict = "first" if item.wins_weigh_more(higher_is_better) else "second"
        judged.append(replace(item, p_holm=p_holm, verdict=verdict))
    return judged

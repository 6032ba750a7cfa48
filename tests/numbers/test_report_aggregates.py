"""Aggregates over runs and tasks, power and ranks over tasks: by hand, by papers and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nasrun.protocols.ranks import ranks
from nasrun.report import aggregates, power, ranking, statistics

SCORES = [np.array([0.0, 1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0, 6.0])]


def test_interquartile_mean_by_hand_and_by_scipy() -> None:
    """Of 0 1 2 3 4 5 6 9 two are cut at each end: (2 + 3 + 4 + 5) / 4."""
    assert aggregates.interquartile_mean(SCORES) == 3.5
    odd = [np.arange(7.0) ** 2]  # one is cut at each end of seven
    assert aggregates.interquartile_mean(odd) == pytest.approx((1 + 4 + 9 + 16 + 25) / 5)
    assert aggregates.interquartile_mean(odd) == pytest.approx(stats.trim_mean(odd[0], 0.25))


def test_the_bootstrap_is_stratified_by_task() -> None:
    """Tasks of equal runs each: no sample differs, where one over all runs would."""
    constant = [np.full(5, 0.1), np.full(5, 0.9)]
    assert aggregates.interquartile_interval(constant) == pytest.approx((0.5, 0.5))
    low, high = aggregates.interquartile_interval(SCORES)
    assert low < 3.5 < high
    # every sample has both tasks, so that the middle half is never of the first alone
    assert low > 1.0


def test_profile_by_hand() -> None:
    thresholds = np.array([-1.0, 0.0, 2.0, 4.5, 9.0])
    assert aggregates.profile(SCORES, thresholds).tolist() == [
        1.0, (3 / 4 + 1) / 2, (1 / 4 + 1) / 2, (1 / 4 + 2 / 4) / 2, 0.0
    ]  # fmt: skip
    low, high = aggregates.profile_band(SCORES, thresholds)
    assert (low[0], high[0], low[-1], high[-1]) == (1.0, 1.0, 0.0, 0.0)
    # of a sample of four with p = 1/4 the share is 0 to 3/4 in 95 of 100
    assert (low[2], high[2]) == (0.5, pytest.approx((0.75 + 1) / 2))


def test_probability_of_improvement_by_hand_and_by_mann_whitney() -> None:
    first = [np.array([1.0, 2.0]), np.array([5.0, 5.0, 5.0])]
    second = [np.array([1.0, 0.0, 3.0]), np.array([5.0, 6.0])]
    # 1 against 1 0 3: a tie, a win, a loss; 2: two wins, a loss; 5 against 5 6: a tie, a loss
    by_hand = ((0.5 + 1 + 2) / 6 + 1.5 / 6) / 2
    found, (low, high) = aggregates.probability_of_improvement(first, second)
    assert found == pytest.approx(by_hand)
    assert low <= found <= high
    reverse, _ = aggregates.probability_of_improvement(second, first)
    assert reverse == pytest.approx(1 - by_hand)
    u = stats.mannwhitneyu(first[0], second[0]).statistic
    alone, _ = aggregates.probability_of_improvement(first[:1], second[:1])
    assert alone == pytest.approx(u / 6)


def test_interval_of_the_probability_is_that_of_drawn_runs() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0.5, 1, 12), rng.normal(0, 1, 9)
    _, found = aggregates.probability_of_improvement([one], [other])
    drawn = [
        (rng.choice(one, 12)[:, None] > rng.choice(other, 9)[None]).mean() for _ in range(4000)
    ]
    assert found == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.03)


@pytest.mark.parametrize(
    ("num_groups", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (7, 2.949), (10, 3.164)],
)
def test_nemenyi_is_that_of_the_table(num_groups: int, q: float) -> None:
    """Demšar, table 5 (a), level .05."""
    assert ranking.nemenyi(num_groups) == pytest.approx(q, abs=1e-3)
    exact = stats.studentized_range.ppf(0.95, num_groups, np.inf) / math.sqrt(2)
    assert ranking.nemenyi(num_groups) == pytest.approx(exact, abs=1e-4)


def test_friedman_and_iman_davenport_of_demsar() -> None:
    """Section 3.2.2: four methods on 14 data sets, mean ranks 3.143 2.000 2.893 1.964."""
    n, k, means = 14, 4, np.array([44, 28, 40.5, 27.5]) / 14
    statistic = 12 * n / (k * (k + 1)) * ((means**2).sum() - k * (k + 1) ** 2 / 4)
    assert statistic == pytest.approx(9.28, abs=0.01)
    f = stats.f.sf(3.69, k - 1, (k - 1) * (n - 1))
    assert ranking.iman_davenport_p(statistic, n, k) == pytest.approx(f, abs=5e-4)
    assert ranking.nemenyi(k) * math.sqrt(k * (k + 1) / (6 * n)) == pytest.approx(1.25, abs=0.01)


def test_friedman_is_that_of_scipy_with_ties() -> None:
    values = np.random.default_rng(0).integers(0, 4, (9, 5)).astype(float)
    ranked = np.array([ranks(row) for row in values])
    expected = stats.friedmanchisquare(*values.T).statistic
    assert ranking.friedman(ranked)[0] == pytest.approx(expected)
    assert ranking.friedman(np.full((4, 3), 2.0)) == (0.0, 1.0)


def test_which_methods_are_alike() -> None:
    """On eight tasks a is always first, b second, c third and d last: CD = 2.569 / sqrt 2.4."""
    values = {name: [4.0 - place] * 8 for place, name in enumerate("abcd")}
    found = ranking.critical_difference(values, higher_is_better=True)
    assert found is not None
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / 48), abs=1e-3)  # 1.658
    assert found.mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert found.alike == (("a", "b"), ("b", "c"), ("c", "d"))
    assert found.p == 0.0  # all tasks have the same order
    reverse = ranking.critical_difference(values, higher_is_better=False)
    assert reverse is not None
    assert list(reverse.mean_ranks) == list("dcba")
    assert ranking.critical_difference({"a": [1.0] * 8, "b": [0.0] * 8}, True) is None
    assert ranking.critical_difference({name: [1.0, 2.0] for name in "abc"}, True) is None


@pytest.mark.parametrize("n", [6, 9, 13, 30, 50, 51, 80])
def test_signed_ranks_are_those_of_scipy(n: int) -> None:
    gains = np.random.default_rng(n).normal(0.3, 1, n)
    p = stats.wilcoxon(gains, zero_method="pratt").pvalue
    assert statistics.signed_rank_p(gains) == pytest.approx(p)


def test_signed_ranks_with_ties_are_counted_out() -> None:
    """Ranks 1.5 1.5 3 of +1 +1 +2: of eight signs two are as far out; a zero takes rank 1."""
    assert statistics.signed_rank_p(np.array([1.0, 1.0, 2.0])) == 2 / 8
    assert statistics.signed_rank_p(np.array([1.0, 1.0, 2.0, 0.0])) == 2 / 8
    assert statistics.signed_rank_p(np.array([1.0, -1.0, 0.0])) == 1.0
    assert statistics.signed_rank_p(np.zeros(7)) == 1.0
    gains = np.array([3, 2, 2, -1, 4, 1, 2, 5, 0, 3], dtype=float)
    p = stats.wilcoxon(gains, zero_method="pratt").pvalue  # a permutation test, for so few
    assert statistics.signed_rank_p(gains) == pytest.approx(p)
    many = np.random.default_rng(0).integers(-3, 6, 60).astype(float)
    p = stats.wilcoxon(many, zero_method="pratt", correction=False).pvalue
    assert statistics.signed_rank_p(many) == pytest.approx(p)


def comparison(gains: list[float]) -> statistics.Comparison:
    return statistics.compare(gains, [0.0] * len(gains), higher_is_better=True)


def test_seeds_needed_by_hand() -> None:
    """d = s: ((1.95996 + 0.84162)^2 + 1.95996^2 / 2) pi / 3 = (7.849 + 1.921) 1.0472 = 10.23;
    beside ten others: ((2.80703 + 0.84162)^2 + 2.80703^2 / 2) pi / 3 = 18.07."""
    item = comparison([0.0, 1.0, 2.0])  # mean 1, deviation 1
    assert (item.difference, item.deviation) == (1.0, 1.0)
    assert power.seeds_needed(item, 1) == 11
    assert power.seeds_needed(item, 10) == 19
    assert power.seeds_needed(comparison([1.0, 1.0, 1.0]), 1) == 6  # 2 / 2**6 is below .05
    assert power.seeds_needed(comparison([1.0, 1.0, 1.0]), 2) == 7  # 4 / 2**7, 4 / 2**6 is not
    assert power.seeds_needed(comparison([1.0, -1.0, 0.0]), 1) is None
    assert power.seeds_needed(comparison([1.0, 2.0]), 1) is None
    assert power.seeds_needed(comparison([1.0, -1.0, 1e-6]), 1) == power.MOST


def test_the_power_is_what_is_said() -> None:
    """Of 2,000 experiments with as many seeds as are needed, about 80 % tell the difference."""
    rng = np.random.default_rng(0)
    item = comparison([0.0, 1.0, 2.0])
    n = power.seeds_needed(item, 1)
    assert n is not None
    told = [statistics.signed_rank_p(rng.normal(1, 1, n)) < 0.05 for _ in range(2000)]
    assert np.mean(told) == pytest.approx(0.8, abs=0.05)

"""Ranks and Kendall's tau equal those of scipy.stats to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from nasrun.protocols.ranks import kendall_tau, ranks


@pytest.mark.parametrize("num_values", [2, 3, 10, 257, 5000])
@pytest.mark.parametrize("num_distinct", [2, 5, 100_000])
def test_they_equal_those_of_scipy(num_values: int, num_distinct: int) -> None:
    rng = np.random.default_rng(num_values + num_distinct)
    for _ in range(5):
        first_N = rng.integers(num_distinct, size=num_values) / 7
        second_N = np.round(first_N + rng.normal(size=num_values), 1)
        second_N[0] = -np.inf
        assert np.array_equal(ranks(second_N), rankdata(second_N))
        expected = float(kendalltau(first_N, second_N).statistic)
        found = kendall_tau(first_N, second_N)
        assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_tau_by_hand() -> None:
    """Of 6 pairs 4 agree, 1 is opposed and 1 is equal in the second: 3 / sqrt(6 * 5)."""
    first_N, second_N = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 3.0])
    assert kendall_tau(first_N, second_N) == pytest.approx(3 / math.sqrt(30), abs=1e-15)
    assert kendall_tau(first_N, -first_N) == -1.0


def test_no_order_has_no_tau() -> None:
    assert math.isnan(kendall_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert math.isnan(kendall_tau(np.array([1.0, math.nan]), np.array([1.0, 2.0])))
    assert math.isnan(kendall_tau(np.array([1.0]), np.array([2.0])))

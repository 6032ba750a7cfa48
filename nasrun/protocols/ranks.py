"""Rank values, and compare two orders by Kendall's tau.

Both equal those of `scipy.stats`, to the last bit (see the tests), whose import takes as long as a
third of a search on a table.
"""

from __future__ import annotations

import numpy as np


def ranks(values_N: np.ndarray) -> np.ndarray:
    """Rank values from 1 on, float64; equal values share the mean of their ranks.

    >>> ranks(np.array([0.2, 0.5, 0.2, 0.1])).tolist()
    [2.5, 4.0, 2.5, 1.0]
    """
    _, inverse_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[inverse_N]


def kendall_tau(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Compute Kendall's tau-b, which counts equal values as no order; n log n.

    It is NaN where either has no order at all, and where a value is NaN.

    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    0.3333333333333333
    """
    if np.isnan(first_N).any() or np.isnan(second_N).any():
        return float("nan")
    _, first_N, counts_first = np.unique(first_N, return_inverse=True, return_counts=True)
    _, second_N, counts_second = np.unique(second_N, return_inverse=True, return_counts=True)
    both_N = first_N * len(counts_second) + second_N
    pairs = _num_pairs(np.array([len(both_N)]))
    equal_first, equal_second = _num_pairs(counts_first), _num_pairs(counts_second)
    if pairs in (equal_first, equal_second):
        return float("nan")
    equal_both = _num_pairs(np.unique(both_N, return_counts=True)[1])
    opposed = _num_inversions(second_N[np.argsort(both_N)])
    surplus = pairs - equal_first - equal_second + equal_both - 2 * opposed
    tau = surplus / np.sqrt(pairs - equal_first) / np.sqrt(pairs - equal_second)
    return float(np.clip(tau, -1.0, 1.0))


def _num_pairs(counts: np.ndarray) -> int:
    """Return how many pairs are within groups of these sizes."""
    return int((counts * (counts - 1) // 2).sum())


def _num_inversions(values_N: np.ndarray) -> int:
    """Count the pairs of which the first is larger; values are integers from 0 on.

    Two values differ first in one bit, from the highest on. So at each bit, among the values that
    agree in all higher ones, each value without it is passed by those with it that stand before.
    """
    total = 0
    for bit in reversed(range(int(values_N.max(initial=0)).bit_length())):
        has_bit_N = (values_N >> bit) & 1
        before_N = has_bit_N.cumsum() - has_bit_N
        higher_N = values_N >> (bit + 1)
        starts = np.flatnonzero(np.diff(higher_N, prepend=-1))  # groups stand together, in order
        group_N = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values_N)))
        passed_N = before_N - before_N[starts][group_N]
        total += int(passed_N[has_bit_N == 0].sum())
        values_N = values_N[np.argsort(values_N >> bit, kind="stable")]
    return total

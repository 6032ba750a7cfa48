"""Compare by several objectives at once: who dominates whom, and who stands apart.

K. Deb, A. Pratap, S. Agarwal, T. Meyarivan. A Fast and Elitist Multiobjective Genetic Algorithm:
NSGA-II. IEEE Transactions on Evolutionary Computation 6(2), 2002. Everything is minimised.

Shapes: N candidates, M objectives.
"""

from __future__ import annotations

import numpy as np


def non_dominated_ranks(costs_NM: np.ndarray) -> np.ndarray:
    """Return rank_N, int64: 0 for the front, 1 for the front of what is left without it, and so on.

    One candidate dominates another that is better in no objective, and is itself better in one.
    Infinite costs are allowed, NaN is not.

    >>> non_dominated_ranks(np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [4.0, 1.0]])).tolist()
    [0, 0, 1, 0]
    """
    first_N1M, second_1NM = costs_NM[:, None], costs_NM[None]
    never_worse_NN = np.all(first_N1M <= second_1NM, axis=2)
    dominates_NN = never_worse_NN & np.any(first_N1M < second_1NM, axis=2)  # [i, j]: i does j
    rank_N = np.zeros(len(costs_NM), dtype=np.int64)
    left_N = np.ones(len(costs_NM), dtype=bool)
    rank = 0
    while left_N.any():
        front_N = left_N & ~dominates_NN[left_N].any(0)
        rank_N[front_N] = rank
        left_N &= ~front_N
        rank += 1
    return rank_N


def crowding_distances(costs_NM: np.ndarray, rank_N: np.ndarray) -> np.ndarray:
    """Return distance_N, float64: how far apart the neighbours of a candidate in its front are.

    It is the sum over the objectives, each in units of its range over the front; infinite for the
    ends of a front. An objective that does not differ, or is infinite, adds nothing.
    """
    distance_N = np.zeros(len(costs_NM))
    for rank in np.unique(rank_N):
        (front_F,) = np.nonzero(rank_N == rank)
        for cost_F in costs_NM[front_F].T:
            order_F = np.argsort(cost_F, kind="stable")
            sorted_F = cost_F[order_F]
            distance_N[front_F[order_F[[0, -1]]]] = np.inf
            if np.isfinite(sorted_F[-1]) and sorted_F[-1] > sorted_F[0]:
                gaps = (sorted_F[2:] - sorted_F[:-2]) / (sorted_F[-1] - sorted_F[0])
                distance_N[front_F[order_F[1:-1]]] += gaps
    return distance_N

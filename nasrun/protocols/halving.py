"""Spend epochs on many candidates by successive halving: the worse ones are stopped early.

K. Jamieson, A. Talwalkar. Non-stochastic Best Arm Identification and Hyperparameter Optimization.
AISTATS 2016, arXiv 1502.07943.

    train all candidates for the epochs of the first rung
    for each further rung:
        keep the best 1/eta of them
        train these on, to the epochs of the rung

Deviation: epochs are fixed and what they add up to follows, as in Hyperband (L. Li et al., JMLR 18,
2018, arXiv 1603.06560); in the paper it is the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rungs(least: int, most: int, eta: int) -> tuple[int, ...]:
    """Return the epochs to which each rung trains: `most`, and `eta` times fewer again and again.

    None is below `least`, but that `most` is always one. `eta` is at least 2.

    >>> rungs(1, 9, 3), rungs(1, 5, 2), rungs(4, 9, 3)
    ((1, 3, 9), (1, 2, 5), (9,))
    """
    found = [most]
    while (epochs := most // eta ** len(found)) >= max(1, least):
        found.insert(0, epochs)
    return tuple(found)


def survivors(costs: Sequence[float], eta: int) -> list[int]:
    """Return the places of the best 1/eta, at least of one, the best first; equals in their order.

    Costs are minimised. An infinite one is a failure, which never goes on.

    >>> survivors([0.4, 0.1, 0.3, 0.1, 0.9, 0.2], 3)
    [1, 3]
    """
    order_N = np.argsort(np.asarray(costs, dtype=float), kind="stable")
    best = order_N[: max(1, len(costs) // eta)].tolist()
    return [place for place in best if np.isfinite(costs[place])]

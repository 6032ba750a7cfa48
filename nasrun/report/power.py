"""Say how many seeds a comparison would need before it can tell anything.

The assumption is stated wherever a number is shown: the mean difference and its spread over seeds
are what the seeds at hand have shown.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from nasrun.report.statistics import LEVEL, Comparison

POWER = 0.8  # how often so many seeds would show a difference of that size
EFFICIENCY = 3 / math.pi  # of Wilcoxon's signed rank test beside the t test, on normal differences
MIN_UNITS = 3  # fewer differences say next to nothing of their spread
MOST = 10_000


def fewest_seeds(num_comparisons: int) -> int:
    """Return how many pairs the clearest outcome needs beside so many comparisons.

    Its two-sided p is 2 / 2**n, which Holm multiplies by the number of comparisons.
    """
    n = 1
    while num_comparisons * 2.0 ** (1 - n) >= LEVEL:
        n += 1
    return n


def seeds_needed(item: Comparison, num_comparisons: int) -> int | None:
    """Return how many pairs would show the difference with a probability of 80 %.

    n = (((z + z(0.8)) s / d)^2 + z^2 / 2) / (3 / pi), with z = z(1 - a / 2m) of m comparisons at
    the level a = .05, the difference d and its standard deviation s: the sample size of the t test
    (Guenther, 1981), divided by the efficiency of Wilcoxon's test (Lehmann, 1975), and never fewer
    than `fewest_seeds`.

    Returns:
        `None` where too few differences are known, or no difference has been seen.
    """
    if item.units < MIN_UNITS or item.deviation is None or item.difference == 0:
        return None
    normal = NormalDist()
    z = normal.inv_cdf(1 - LEVEL / (2 * num_comparisons))
    ratio = (z + normal.inv_cdf(POWER)) * item.deviation / item.difference
    n = (ratio**2 + z**2 / 2) / EFFICIENCY
    return max(fewest_seeds(num_comparisons), min(MOST, math.ceil(n)))

"""Sum up a method over several tasks by figures that few lucky or unlucky runs cannot turn.

Source: Agarwal, Schwarzer, Castro, Courville, Bellemare, Deep Reinforcement Learning at the Edge of
the Statistical Precipice, NeurIPS 2021, arXiv 2108.13264. Scores are higher for better runs.

Suffixes: M tasks, N runs of a task, A runs of all tasks, T thresholds, R bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasrun.report.statistics import LEVEL, bootstrap_weights

NUM_BOOTSTRAPS = 2_000
CUT = 0.25  # of all runs, at each end

Scores = Sequence[np.ndarray]
"""Of each task the scores_N of a method's runs; tasks may have different numbers of runs."""
Bounds = tuple[float, float]


def interquartile_mean(scores: Scores) -> float:
    """Return the mean of the middle half of all runs of all tasks.

    A quarter is cut at each end, rounded down to whole runs (`scipy.stats.trim_mean`, as rliable
    uses it).
    """
    return float(_middle(np.concatenate(scores)[None])[0])


def _middle(scores_RA: np.ndarray) -> np.ndarray:
    ordered_RA = np.sort(scores_RA, axis=1)
    cut = int(CUT * ordered_RA.shape[1])
    middle_R: np.ndarray = ordered_RA[:, cut : ordered_RA.shape[1] - cut].mean(axis=1)
    return middle_R


def interquartile_interval(scores: Scores) -> Bounds:
    """Return the 95 % interval of the interquartile mean by the stratified bootstrap.

    Runs are drawn with replacement within each task, so that every sample has all tasks.
    """
    rng = np.random.default_rng(0)
    drawn = [one_N[rng.integers(0, len(one_N), (NUM_BOOTSTRAPS, len(one_N)))] for one_N in scores]
    return _bounds(_middle(np.concatenate(drawn, axis=1)))


def profile(scores: Scores, thresholds_T: np.ndarray) -> np.ndarray:
    """Return the share_T of runs with a score above each threshold: the mean over the tasks."""
    above_MT = [(one_N[:, None] > thresholds_T).mean(axis=0) for one_N in scores]
    share_T: np.ndarray = np.mean(above_MT, axis=0)
    return share_T


def profile_band(scores: Scores, thresholds_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % band of a profile at each threshold, low_T and high_T, as above."""
    sampled_RT = np.mean(
        [
            bootstrap_weights(len(one_N), None, NUM_BOOTSTRAPS, seed)
            @ (one_N[:, None] > thresholds_T)
            for seed, one_N in enumerate(scores)
        ],
        axis=0,
    )
    low_T, high_T = np.quantile(sampled_RT, (LEVEL / 2, 1 - LEVEL / 2), axis=0)
    return low_T, high_T


def probability_of_improvement(first: Scores, second: Scores) -> tuple[float, Bounds]:
    """Return how likely a run of the first is better than one of the second on the same task.

    P = mean over the tasks of the share of pairs of runs in which the first is better, a tie
    counting half (Mann and Whitney, 1947); with its 95 % interval by the stratified bootstrap.
    """
    whole, samples_R = [], np.zeros(NUM_BOOTSTRAPS)
    for task, (one_N, other_N) in enumerate(zip(first, second, strict=True)):
        difference_NN = one_N[:, None] - other_N[None, :]
        wins_NN = (difference_NN > 0) + 0.5 * (difference_NN == 0)
        whole.append(wins_NN.mean())
        weights_RN = bootstrap_weights(len(one_N), None, NUM_BOOTSTRAPS, 2 * task)
        others_RN = bootstrap_weights(len(other_N), None, NUM_BOOTSTRAPS, 2 * task + 1)
        samples_R += ((weights_RN @ wins_NN) * others_RN).sum(axis=1)
    return float(np.mean(whole)), _bounds(samples_R / len(whole))


def _bounds(samples_R: np.ndarray) -> Bounds:
    low, high = np.quantile(samples_R, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)

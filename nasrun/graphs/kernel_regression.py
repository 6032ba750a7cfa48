"""Regress by a Gaussian process with the kernel k(x, x') = exp(-|x - x'|^2 / (2 l^2)).

The posterior mean at x is k(x, X) times its weights (Rasmussen and Williams 2006, Eq. 2.25), and
its log marginal likelihood is their Eq. 2.30. Targets that have a long tail, as accuracies do, are
replaced by normal quantiles before. Shapes: N labelled and C other points, F features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import ndtri

from nasrun.protocols.ranks import ranks


@dataclass(frozen=True)
class Posterior:
    """A process given targets: K + noise^2 I = L L', and its inverse times the targets."""

    length_scale: float
    factor_NN: np.ndarray  # L, lower triangular
    weights_N: np.ndarray
    log_likelihood: float  # without its constant


def normal_quantiles(values_N: np.ndarray) -> np.ndarray:
    """Replace values by the normal quantiles of their ranks; equal ones share one."""
    quantiles_N: np.ndarray = ndtri((ranks(values_N) - 0.5) / len(values_N))
    return quantiles_N


def squared_distances(first_CF: np.ndarray, second_NF: np.ndarray) -> np.ndarray:
    """Return |x - x'|^2 of every pair, float64."""
    squares_CN = np.square(first_CF).sum(axis=1)[:, None] + np.square(second_NF).sum(axis=1)
    # |x|^2 + |x'|^2 - 2 x x' can round below 0 for equal x
    return np.maximum(squares_CN - 2 * first_CF @ second_NF.T, 0.0)


def likeliest(
    features_NF: np.ndarray,
    targets_N: np.ndarray,
    length_scales: Sequence[float],
    noises: Sequence[float],
) -> tuple[Posterior, float]:
    """Return the process of the highest marginal likelihood, and the unit of its squared distances.

    The unit is the typical (median) one, so that one list of length-scales does for all spaces.
    """
    distances_NN = squared_distances(features_NF, features_NF)
    typical = float(np.median(distances_NN[~np.eye(len(targets_N), dtype=bool)]))
    unit = typical if typical > 0 else 1.0
    candidates = (
        posterior(distances_NN / unit, targets_N, length_scale, noise)
        for length_scale, noise in itertools.product(length_scales, noises)
    )
    return max(candidates, key=lambda candidate: candidate.log_likelihood), unit


def posterior(
    distances_NN: np.ndarray, targets_N: np.ndarray, length_scale: float, noise: float
) -> Posterior:
    """Condition the process on the targets, at one choice of length-scale and noise."""
    kernel_NN = np.exp(-0.5 * distances_NN / length_scale**2)
    factor_NN = cholesky(kernel_NN + noise**2 * np.eye(len(targets_N)), lower=True)
    weights_N = cho_solve((factor_NN, True), targets_N)
    fit = -0.5 * float(targets_N @ weights_N)
    # log det(L L') / 2 is the sum of the logarithms of L's diagonal
    log_likelihood = fit - float(np.log(np.diag(factor_NN)).sum())
    return Posterior(length_scale, factor_NN, weights_N, log_likelihood)

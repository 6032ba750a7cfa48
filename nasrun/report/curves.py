"""Compute anytime curves: how good the best so far is after so many evaluations, seconds or steps.

A method on alphas keeps no best; its curve shows how good the current alpha is.

Suffixes: L labels, S steps, N runs, X points of a curve, R bootstrap samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

import numpy as np

from nasrun.report.collect import Run, finite
from nasrun.report.statistics import LEVEL, Clusters, bootstrap_weights
from nasrun.runs import json_lines

NUM_POINTS, NUM_BOOTSTRAPS = 200, 1_000
# A curve begins where this share of the runs has a value, so that a late run does not hide others.
STARTED = 0.95
Axis = Literal["evaluations", "seconds", "steps"]
AXES: dict[Axis, str] = {
    "evaluations": "true evaluations",
    "seconds": "seconds of search",
    "steps": "steps of the search (epochs, rounds)",
}


@dataclass(frozen=True)
class Staircase:
    """Errors in [0, 1]: `errors[i]` is the best from `places[i]` on."""

    places: np.ndarray
    errors: np.ndarray

    def at(self, points_X: np.ndarray) -> np.ndarray:
        """Return the errors at these points; before the first place, the first error."""
        index_X = np.searchsorted(self.places, points_X, side="right") - 1
        return self.errors[index_X.clip(0)]

    def above(self, lowest: float) -> Staircase:
        """Return regrets: the distances to the lowest error that there is."""
        return Staircase(self.places, self.errors - lowest)


@dataclass(frozen=True)
class History:
    """What a run has recorded on its way.

    `optimum` is the accuracy of the best architecture, where a table knows it. `retraining` has the
    validation errors of the epochs, or their training losses where nothing was held out.
    """

    staircases: Mapping[Axis, Staircase]
    keeps_best: bool  # whether they show the best so far, or the alpha of the time
    optimum: float | None
    retraining: Staircase | None
    retraining_is_loss: bool
    labels_S: np.ndarray  # true evaluations behind each tau
    tau_S: np.ndarray


@dataclass(frozen=True)
class Curve:
    """The mean over the runs of a group and its 95 % bootstrap interval."""

    n: int
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def read_history(run: Run) -> History:
    """Read `evaluations.jsonl` and `metrics.jsonl`; lines that cannot be read are noted."""
    lines = read_lines(run, "metrics.jsonl")
    steps = [line for line in lines if line.get("phase") == "search"]
    best_S, regret_S = _column(steps, "best_val_accuracy"), _column(steps, "regret")
    known_S = np.isfinite(best_S + regret_S)
    optimum = float((best_S + regret_S)[known_S][-1]) if known_S.any() else None
    found: dict[Axis, Staircase] = {}
    # A method on alphas keeps no best: the maximum of its noisy epochs would be one of luck.
    keeps_best = bool(np.isfinite(best_S).any())
    label_errors = _first_values(read_lines(run, "evaluations.jsonl"))
    if label_errors:
        places_L = np.arange(1, len(label_errors) + 1)
        found["evaluations"] = _staircase(places_L, np.array(label_errors))
    score_S = _scores(steps, best_S)
    if np.isfinite(score_S).any():
        seconds_S = np.nancumsum(_column(steps, "seconds"))
        error_S = 1.0 - score_S
        found["seconds"] = _staircase(seconds_S, error_S, keeps_best)
        found["steps"] = _staircase(np.arange(1, len(steps) + 1), error_S, keeps_best)
    labels_S, tau_S = _column(steps, "labels"), _column(steps, "held_out_tau")
    known_S = np.isfinite(labels_S + tau_S)
    retraining, is_loss = _retraining([line for line in lines if line.get("phase") == "retrain"])
    keeps_best = keeps_best or bool(label_errors)
    return History(
        found, keeps_best, optimum, retraining, is_loss, labels_S[known_S], tau_S[known_S]
    )


def _retraining(epochs: Sequence[Mapping[str, Any]]) -> tuple[Staircase | None, bool]:
    """Return what was recorded of each epoch, and whether that is a loss."""
    figures = _column(epochs, "val_accuracy")
    is_loss = not np.isfinite(figures).any()
    figures = _column(epochs, "loss") if is_loss else figures
    if not np.isfinite(figures).any():
        return None, is_loss
    figures = figures if is_loss else 1.0 - figures
    return _staircase(np.arange(1, len(epochs) + 1), figures, keeps_best=False), is_loss


def read_lines(run: Run, name: str) -> list[dict[str, Any]]:
    """Read the objects of a JSON-lines file; what cannot be read becomes a note."""
    lines, notes = json_lines.read_lines(run.folder / name)
    run.notes.extend(notes)
    return lines


def _first_values(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the validation error of each label; NaN where the evaluation failed."""
    listed = [line.get("values") for line in lines]
    return _floats([values[0] if type(values) is list and values else None for values in listed])


def _column(lines: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Return a figure of each line; NaN where a line has none."""
    return np.array(_floats([line.get(name) for line in lines]), dtype=float)


def _floats(values: Sequence[Any]) -> list[float]:
    found = [value if type(value) is float else finite(value) for value in values]
    return [math.nan if value is None or math.isinf(value) else value for value in found]


def _scores(steps: Sequence[Mapping[str, Any]], best_S: np.ndarray) -> np.ndarray:
    """Return what the search maximises: the accuracy, where a step has no other score."""
    score_S = np.full(len(steps), np.nan)
    known = {"best_val_accuracy": best_S}
    for name in ("best_val_score", "val_score", "best_val_accuracy", "val_accuracy"):
        if not np.isfinite(score_S).all():
            other_S = known[name] if name in known else _column(steps, name)
            score_S = np.where(np.isfinite(score_S), score_S, other_S)
    return score_S


def _staircase(places: np.ndarray, errors: np.ndarray, keeps_best: bool = True) -> Staircase:
    """Return the best so far, from the first finite error on; or the errors as they are."""
    values = np.fmin.accumulate(errors) if keeps_best else errors
    known = np.isfinite(values)
    return Staircase(places[known], values[known])


def curve(staircases: Sequence[Staircase], axis: Axis, clusters: Clusters = None) -> Curve | None:
    """Return the curve over the runs of a group, `None` where no run has a value.

    It begins where nearly all runs have a value; the few that are later count with their first. A
    run that ended early keeps its last: it had its answer.
    """
    there = [len(item.places) > 0 for item in staircases]
    staircases = list(compress(staircases, there))
    if not staircases:
        return None
    first = float(np.quantile([item.places[0] for item in staircases], STARTED, method="higher"))
    last = max(float(item.places[-1]) for item in staircases)
    if axis == "seconds":
        x = np.geomspace(max(first, 1e-6), max(first, last, 1e-6), NUM_POINTS)
    else:
        x = np.unique(np.linspace(first, last, NUM_POINTS).round())
    clusters = None if clusters is None else list(compress(clusters, there))
    return mean_curve(x, np.array([item.at(x) for item in staircases]), clusters)


def mean_curve(x: np.ndarray, values_NX: np.ndarray, clusters: Clusters = None) -> Curve:
    """Return the mean of curves and its bootstrap interval.

    Whole runs are drawn with replacement, so that the band respects how points hang together;
    `scipy.stats.bootstrap` would hold every point of every drawn run.
    """
    n = len(values_NX)
    mean = values_NX.mean(axis=0)
    if n < 2:
        return Curve(n, x, mean, mean, mean)
    weights_RN = bootstrap_weights(n, clusters, NUM_BOOTSTRAPS)
    low, high = np.quantile(weights_RN @ values_NX, (LEVEL / 2, 1 - LEVEL / 2), axis=0)
    return Curve(n, x, mean, low, high)

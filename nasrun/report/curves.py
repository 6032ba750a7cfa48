"""Compute anytime curves: how good the best so far is after so many evaluations, seconds or steps.

A method on alphas keeps no best; its curve shows how good the current alpha is.

Suffixes: L labels, S steps, N runs, X points of a curve, R bootstrap samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

import numpy as np

from nasrun.report.collect import Run, finite, number
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
    optimum = next(
        (
            best + regret
            for line in reversed(steps)
            if (best := number(line, "best_val_accuracy")) is not None
            and (regret := number(line, "regret")) is not None
        ),
        None,
    )
    found: dict[Axis, Staircase] = {}
    # A method on alphas keeps no best: the maximum of its noisy epochs would be one of luck.
    keeps_best = any(number(line, "best_val_accuracy") is not None for line in steps)
    label_errors = [_first_value(line) for line in read_lines(run, "evaluations.jsonl")]
    if label_errors:
        places_L = np.arange(1, len(label_errors) + 1)
        found["evaluations"] = _staircase(places_L, np.array(label_errors))
    score_S = np.array([_score(line) for line in steps], dtype=float)
    if np.isfinite(score_S).any():
        seconds_S = np.cumsum([number(line, "seconds") or 0.0 for line in steps])
        error_S = 1.0 - score_S
        found["seconds"] = _staircase(seconds_S, error_S, keeps_best)
        found["steps"] = _staircase(np.arange(1, len(steps) + 1), error_S, keeps_best)
    taus = [(number(line, "labels"), number(line, "held_out_tau")) for line in steps]
    known = np.array([pair for pair in taus if None not in pair], dtype=float).reshape(-1, 2)
    retraining, is_loss = _retraining([line for line in lines if line.get("phase") == "retrain"])
    keeps_best = keeps_best or bool(label_errors)
    return History(found, keeps_best, optimum, retraining, is_loss, known[:, 0], known[:, 1])


def _retraining(epochs: Sequence[Mapping[str, Any]]) -> tuple[Staircase | None, bool]:
    """Return what was recorded of each epoch, and whether that is a loss."""
    accuracies = [number(line, "val_accuracy") for line in epochs]
    is_loss = not any(accuracy is not None for accuracy in accuracies)
    values = [number(line, "loss") for line in epochs] if is_loss else accuracies
    figures = np.array(values, dtype=float)
    if not np.isfinite(figures).any():
        return None, is_loss
    figures = figures if is_loss else 1.0 - figures
    return _staircase(np.arange(1, len(epochs) + 1), figures, keeps_best=False), is_loss


def read_lines(run: Run, name: str) -> list[dict[str, Any]]:
    """Read the objects of a JSON-lines file; what cannot be read becomes a note."""
    lines, notes = json_lines.read_lines(run.folder / name)
    run.notes.extend(notes)
    return lines


def _first_value(line: Mapping[str, Any]) -> float:
    """Return the validation error of a label; NaN where the evaluation failed."""
    values = line.get("values")
    error = finite(values[0]) if isinstance(values, list) and values else None
    return float("nan") if error is None else error


def _score(line: Mapping[str, Any]) -> float | None:
    """Return what the search maximises: the accuracy, where a step has no other score."""
    names = ("best_val_score", "val_score", "best_val_accuracy", "val_accuracy")
    return next((value for name in names if (value := number(line, name)) is not None), None)


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

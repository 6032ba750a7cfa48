"""Compare methods over all runs of all tasks, so that a claim over many tables is one picture.

A task is a dataset, of a space and a table where those differ; a method is what else tells groups
apart. Methods that have runs on every task are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nasrun.report import aggregates
from nasrun.report.aggregates import Bounds
from nasrun.report.groups import Group, name_of
from nasrun.report.metrics import Metric
from nasrun.report.ranking import CriticalDifference, critical_difference
from nasrun.report.statistics import MIN_FOR_INTERVAL

TASK_KEYS = ("dataset", "dataset.name", "space", "evaluator.file")
NUM_THRESHOLDS = 101
MAX_COMPARED = 12  # methods, the best; all pairs of more would be a page of them


@dataclass(frozen=True)
class Standing:
    """A method over all tasks: interquartile mean and performance profile, with 95 % bounds."""

    name: str
    num_runs: int
    middle: float
    bounds: Bounds
    profile_T: np.ndarray
    low_T: np.ndarray
    high_T: np.ndarray


@dataclass(frozen=True)
class Improvement:
    """How likely a run of the first is better than one of the second on the same task."""

    first: str
    second: str
    probability: float
    bounds: Bounds


@dataclass(frozen=True)
class Across:
    """Methods over tasks, the best first.

    Attributes:
        is_scaled: whether scores are set to 0 for the worst run of a task and 1 for its best;
            otherwise they are the metric's values.
        ranks: over the tasks by the methods' means; `None` for too few of either.
    """

    tasks: tuple[str, ...]
    is_scaled: bool
    thresholds_T: np.ndarray
    standings: tuple[Standing, ...]
    improvements: tuple[Improvement, ...]
    ranks: CriticalDifference | None


def across(rows: Sequence[tuple[Group, Sequence[float]]], metric: Metric) -> Across | None:
    """Compare methods, given the groups with their values; `None` where there are too few.

    At least two methods are needed, each with three runs on every task.
    """
    by_method = _by_method(rows)
    tasks = list(dict.fromkeys(task for found in by_method.values() for task in found))
    by_method = {
        name: found
        for name, found in by_method.items()
        if all(len(found.get(task, ())) >= MIN_FOR_INTERVAL for task in tasks)
    }
    if len(by_method) < 2:
        return None
    is_scaled = len(tasks) > 1 or not metric.higher_is_better
    scores = _scores(by_method, tasks, metric, is_scaled)
    ends = np.concatenate([one for found in scores.values() for one in found])
    thresholds_T = np.linspace(ends.min(), ends.max(), NUM_THRESHOLDS)
    middles = {name: aggregates.interquartile_mean(found) for name, found in scores.items()}
    best = sorted(scores, key=lambda name: -middles[name])[:MAX_COMPARED]
    means = {name: [float(np.mean(by_method[name][task])) for task in tasks] for name in best}
    return Across(
        tuple(map(_task_name, tasks)),
        is_scaled,
        thresholds_T,
        tuple(_standing(name, scores[name], thresholds_T) for name in best),
        tuple(
            Improvement(*pair, *aggregates.probability_of_improvement(*map(scores.get, pair)))  # type: ignore[arg-type]
            for pair in combinations(best, 2)
        ),
        critical_difference(means, metric.higher_is_better),
    )


Task = tuple[str, ...]


def _by_method(
    rows: Sequence[tuple[Group, Sequence[float]]],
) -> dict[str, dict[Task, Sequence[float]]]:
    """Return the values of each method by task."""
    found: dict[str, dict[Task, Sequence[float]]] = {}
    for item, values in rows:
        method = {key: text for key, text in item.settings.items() if key not in TASK_KEYS}
        others = [
            text
            for key, text in item.settings.items()
            if key in TASK_KEYS and not key.startswith("dataset")
        ]
        name = name_of(method, item.runs[0])
        found.setdefault(name, {})[item.dataset, *others] = values
    return found


def _task_name(task: Task) -> str:
    return ", ".join(task)


def _scores(
    by_method: Mapping[str, Mapping[Task, Sequence[float]]],
    tasks: Sequence[Task],
    metric: Metric,
    is_scaled: bool,
) -> dict[str, list[np.ndarray]]:
    """Return scores_N by task, higher for better runs."""
    sign = 1.0 if metric.higher_is_better else -1.0
    scores: dict[str, list[np.ndarray]] = {name: [] for name in by_method}
    for task in tasks:
        values = {name: sign * np.array(list(found[task])) for name, found in by_method.items()}
        every = np.concatenate(list(values.values()))
        low, spread = (every.min(), np.ptp(every) or 1.0) if is_scaled else (0.0, 1.0)
        for name, of_task_N in values.items():
            scores[name].append((of_task_N - low) / spread)
    return scores


def _standing(name: str, scores: Sequence[np.ndarray], thresholds_T: np.ndarray) -> Standing:
    low_T, high_T = aggregates.profile_band(scores, thresholds_T)
    return Standing(
        name,
        sum(map(len, scores)),
        aggregates.interquartile_mean(scores),
        aggregates.interquartile_interval(scores),
        aggregates.profile(scores, thresholds_T),
        low_T,
        high_T,
    )

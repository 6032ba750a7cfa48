"""Turn the report into flat records for programs: one per group, comparison and run.

Accuracies are fractions; there are no texts for people.
"""

from __future__ import annotations

from typing import Any

from nasrun.report import metrics, power
from nasrun.report.across import Across
from nasrun.report.analysis import Report
from nasrun.report.collect import shown

Record = dict[str, Any]


def groups(report: Report) -> list[Record]:
    """Return one record per group.

    `mean` to `best` are of the report's metric; under the name of each metric is its mean.
    """
    return [
        {
            "dataset": row.group.dataset,
            **row.group.settings,
            "n": row.summary.n,
            "mean": row.summary.mean,
            "std": row.summary.std,
            **_bounds(row.summary.interval),
            "best": report.metric.best(row.values),
            **row.means,
            "knowledge": row.group.knowledge,
            "signal": " or ".join(sorted({metrics.signal(run) for run in row.group.runs})),
        }
        for row in report.rows
    ]


def pairs(report: Report) -> list[Record]:
    """Return one record per comparison, also of those that cannot tell."""
    return [
        {
            "dataset": pair.first.dataset,
            "first": pair.first.name,
            "second": pair.second.name,
            "n": pair.comparison.n,
            "units": pair.comparison.units,
            "difference": pair.comparison.difference if pair.comparison.n else None,
            **_bounds(pair.comparison.interval),
            "wins": pair.comparison.wins,
            "ties": pair.comparison.ties,
            "losses": pair.comparison.losses,
            "p": pair.comparison.p,
            "p_holm": pair.comparison.p_holm,
            "effect": pair.comparison.effect,
            "verdict": pair.comparison.verdict,
            "seeds_needed": power.seeds_needed(
                pair.comparison, report.num_compared(pair.first.dataset)
            ),
            "knew_alike": pair.knew_alike,
        }
        for pair in report.pairs
    ]


def runs(report: Report) -> list[Record]:
    """Return one record per run, with every figure that a run can have."""
    return [
        {
            "group": row.group.name,
            "folder": shown(run.folder),
            "dataset": run.dataset,
            "seed": run.seed,
            "device": run.device,
            "commit": run.text("commit", source=run.record),
            **{key: metric.of(run) for key, metric in metrics.METRICS.items()},
            "signal": metrics.signal(run),
        }
        for row in report.rows
        for run in row.group.runs
    ]


def across(found: Across | None) -> Record | None:
    """Return methods over tasks; scores are as in the tables, probabilities are fractions."""
    if found is None:
        return None
    ranks = found.ranks
    return {
        "tasks": found.tasks,
        "scores_are_scaled": found.is_scaled,
        "methods": [
            {
                "name": one.name,
                "n": one.num_runs,
                "interquartile_mean": one.middle,
                **_bounds(one.bounds),
                "profile": one.profile_T.tolist(),
            }
            for one in found.standings
        ],
        "thresholds": found.thresholds_T.tolist(),
        "improvements": [
            {
                "first": one.first,
                "second": one.second,
                "probability": one.probability,
                **_bounds(one.bounds),
            }
            for one in found.improvements
        ],
        "ranks": None if ranks is None else vars(ranks),
    }


def _bounds(interval: tuple[float, float] | None) -> Record:
    low, high = interval or (None, None)
    return {"low": low, "high": high}

"""Turn the report into flat records for programs: one per group, comparison and run.

Accuracies are fractions; there are no texts for people.
"""

from __future__ import annotations

from typing import Any

from nasrun.report import metrics
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


def _bounds(interval: tuple[float, float] | None) -> Record:
    low, high = interval or (None, None)
    return {"low": low, "high": high}

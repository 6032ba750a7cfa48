"""Compute what a report says, as values: no format, no file, no drawing."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, compress

import numpy as np

from nasrun.report import curve_sets, metrics, statistics
from nasrun.report.across import Across, across
from nasrun.report.collect import LeftOut, Run
from nasrun.report.curve_sets import CurveSet
from nasrun.report.curves import read_history
from nasrun.report.groups import Group, Grouping, group, natural, without_repetitions
from nasrun.report.metrics import Metric
from nasrun.report.notes import notes_of
from nasrun.report.published import Published, fitting
from nasrun.report.ranking import Ranking, rank
from nasrun.report.references import Reference, references
from nasrun.report.statistics import Comparison, Summary

MIN_GRID = 2  # values of each key


@dataclass(frozen=True)
class Row:
    """One group and its figures. `values` are those of the metric, run by run."""

    group: Group
    values: tuple[float, ...]
    summary: Summary
    means: Mapping[str, float | None]  # metric -> mean over the runs that have it


@dataclass(frozen=True)
class Pair:
    """Two groups of one dataset, compared on common seeds."""

    first: Group
    second: Group
    comparison: Comparison

    @property
    def knew_alike(self) -> bool:
        """Return whether both searches knew the same of architectures before any label."""
        return self.first.knowledge == self.second.knowledge


@dataclass(frozen=True)
class Grid:
    """Groups of one dataset, laid out by two keys; `cells` by (row, column) value."""

    dataset: str
    metric: Metric
    keys: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Summary]


@dataclass(frozen=True)
class Point:
    """A point of error against cost; `paid` says with what: GPU, CPU, table, published."""

    name: str
    days: float
    error: float
    paid: str
    dataset: str


@dataclass(frozen=True)
class Report:
    """All that there is to say about the runs that are compared."""

    metric: Metric
    grouping: Grouping
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    rankings: tuple[Ranking, ...]
    across: Across | None  # what the methods are worth over all runs of all tasks
    references: tuple[Reference, ...]
    grids: tuple[Grid, ...]
    curve_sets: tuple[CurveSet, ...]
    points: tuple[Point, ...]
    published: tuple[Published, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def runs(self) -> list[Run]:
        return [run for row in self.rows for run in row.group.runs]

    @property
    def datasets(self) -> list[str]:
        return sorted({row.group.dataset for row in self.rows})

    def rows_of(self, dataset: str) -> list[Row]:
        return [row for row in self.rows if row.group.dataset == dataset]

    def num_compared(self, dataset: str) -> int:
        """Count the comparisons on a dataset, for which each of them is corrected."""
        return sum(pair.first.dataset == dataset for pair in self.pairs)

    def best_first(self, dataset: str) -> list[Row]:
        sign = -1 if self.metric.higher_is_better else 1
        return sorted(self.rows_of(dataset), key=lambda row: sign * row.summary.mean)


def analyse(
    runs: Sequence[Run],
    left_out: Sequence[LeftOut],
    by: Sequence[str] | None = None,
    metric: str | None = None,
) -> Report:
    """Compute all figures of finished runs.

    Raises:
        UsageError: `by` names an unknown key, or no run has the `metric`.
    """
    chosen = metrics.choose(metric, runs)
    lacking = [
        LeftOut(run.folder, "incomplete", f"done, but there is no {chosen.label} in result.json")
        for run in runs
        if chosen.of(run) is None
    ]
    chosen = metrics.of_signal(chosen, runs)
    kept, repeated = without_repetitions([run for run in runs if chosen.of(run) is not None])
    grouping = group(kept, by)
    rows = tuple(_row(item, chosen) for item in grouping.groups)
    published = tuple(fitting(kept, grouping.keys))
    grids = _grids(grouping, chosen, published, asked=by is not None)
    histories = {run.folder: read_history(run) for run in kept}
    by_dataset = [
        [row for row in rows if row.group.dataset == dataset]
        for dataset in dict.fromkeys(row.group.dataset for row in rows)
    ]
    return Report(
        chosen,
        grouping,
        rows,
        _pairs(rows, grouping, chosen),
        tuple(_rankings(rows, grouping, chosen)),
        across([(row.group, row.values) for row in rows], chosen),
        tuple(references(kept)),
        tuple(grids),
        tuple(
            curve_set
            for members in by_dataset
            for curve_set in curve_sets.all_of([row.group for row in members], histories)
        ),
        tuple(_points(rows, chosen)),
        published,
        (*left_out, *lacking, *repeated),
        tuple(notes_of(grouping, chosen)),
    )


def _row(item: Group, metric: Metric) -> Row:
    values = tuple(value for run in item.runs if (value := metric.of(run)) is not None)
    means = {key: mean_of(item.runs, other) for key, other in metrics.METRICS.items()}
    return Row(item, values, statistics.summarise(values, item.clusters), means)


def mean_of(runs: Sequence[Run], metric: Metric) -> float | None:
    """Return the mean of a metric over the runs that have it."""
    values = [value for run in runs if (value := metric.of(run)) is not None]
    return float(np.mean(values)) if values else None


def _pairs(rows: Sequence[Row], grouping: Grouping, metric: Metric) -> tuple[Pair, ...]:
    """Compare all pairs of groups of a dataset; Holm's correction is over those of a dataset."""
    found: list[Pair] = []
    by_pair = {row.group.name: _by_pair(row, grouping) for row in rows}
    for dataset in dict.fromkeys(row.group.dataset for row in rows):
        members = [row.group for row in rows if row.group.dataset == dataset]
        couples = list(combinations(members, 2))
        compared = []
        for one, other in couples:
            first, second = by_pair[one.name], by_pair[other.name]
            common = [key for key in first if key in second]
            compared.append(
                statistics.compare(
                    [first[key] for key in common],
                    [second[key] for key in common],
                    metric.higher_is_better,
                    _shared_by_pairs(one, other, common, grouping),
                )
            )
        judged = statistics.judge(compared, metric.higher_is_better)
        found += [Pair(a, b, result) for (a, b), result in zip(couples, judged, strict=True)]
    return tuple(found)


def _rankings(rows: Sequence[Row], grouping: Grouping, metric: Metric) -> Iterator[Ranking]:
    """Yield the ranks of the groups of each dataset that has enough of them."""
    for dataset in dict.fromkeys(row.group.dataset for row in rows):
        members = [row for row in rows if row.group.dataset == dataset]
        values = {row.group.name: _by_pair(row, grouping) for row in members}
        found = rank(dataset, values, metric.higher_is_better)
        if found is not None:
            yield found


def _shared_by_pairs(
    one: Group, other: Group, common: Sequence[Hashable], grouping: Grouping
) -> statistics.Clusters:
    """Return the cluster of each pair: pairs whose runs, of either group, share a seed are in one.

    `None` where no two pairs share one.
    """
    shares: dict[Hashable, list[Hashable]] = {key: [] for key in common}
    for item in (one, other):
        seeds = item.shared_seeds
        for run, values in zip(item.runs, seeds.of_run if seeds else (), strict=False):
            if seeds is not None and grouping.pair(run) in shares:
                shares[grouping.pair(run)].append((seeds.keys, values))
    first_with: dict[Hashable, int] = {}
    cluster_of = list(range(len(common)))
    for place, key in enumerate(common):
        met = {cluster_of[first_with.setdefault(seed, place)] for seed in shares[key]} | {place}
        cluster_of = [min(met) if cluster in met else cluster for cluster in cluster_of]
    return cluster_of if len(set(cluster_of)) < len(cluster_of) else None


def _by_pair(row: Row, grouping: Grouping) -> dict[Hashable, float]:
    """Return the value of each seed, a mean where a group has several runs of one."""
    found: dict[Hashable, list[float]] = {}
    for run, value in zip(row.group.runs, row.values, strict=True):
        if run.seed is not None:
            found.setdefault(grouping.pair(run), []).append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}


def _grids(
    grouping: Grouping, metric: Metric, published: Sequence[Published], asked: bool
) -> list[Grid]:
    """Lay out the groups by two keys, where they differ in just two.

    The figures are those of the metric, and beside it those of a published grid. A grid that was
    not asked for must be half full.
    """
    keys = tuple(key for key in grouping.keys if key != "dataset")
    if len(keys) != 2:
        return []
    wanted = [metric]
    for figures in published:
        if figures.kind == "grid" and figures.metric not in [one.key for one in wanted]:
            wanted.append(metrics.METRICS[figures.metric])
    found = []
    for dataset in dict.fromkeys(item.dataset for item in grouping.groups):
        members = [item for item in grouping.groups if item.dataset == dataset]
        for one in wanted:
            cells = {}
            for item in members:
                has = [one.of(run) is not None for run in item.runs]
                values = [value for run in item.runs if (value := one.of(run)) is not None]
                if values:
                    place = item.settings[keys[0]], item.settings[keys[1]]
                    clusters = item.clusters and list(compress(item.clusters, has))
                    cells[place] = statistics.summarise(values, clusters)
            rows, columns = (sorted({c[i] for c in cells}, key=natural) for i in (0, 1))
            full = asked or 2 * len(cells) >= len(rows) * len(columns)
            if full and len(rows) >= MIN_GRID and len(columns) >= MIN_GRID:
                found.append(
                    Grid(dataset, one, (keys[0], keys[1]), tuple(rows), tuple(columns), cells)
                )
    return found


def _points(rows: Sequence[Row], metric: Metric) -> list[Point]:
    """List error against the cost of the search, for accuracies.

    A search on a table's landscape trains nothing, so that what it took is no cost.
    """
    if not (metric.percent and metric.higher_is_better):
        return []
    found = []
    for row in rows:
        trained = [run for run in row.group.runs if not metrics.on_landscape(run)]
        days = [day for run in trained if (day := metrics.search_days(run))]
        if days:
            first = trained[0]
            paid = "GPU" if first.on_gpu else "CPU"
            if metrics.labels_from_table(first):
                paid = "table"
            error = 1.0 - row.summary.mean
            found.append(Point(row.group.name, float(np.mean(days)), error, paid, first.dataset))
    return found

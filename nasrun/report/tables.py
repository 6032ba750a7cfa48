"""Lay out the report as tables of texts, each cell with the value behind it, for every format."""

from __future__ import annotations

from collections.abc import Iterator

from nasrun.report import across_tables, details, metrics, power, statistics
from nasrun.report.analysis import Grid, Pair, Report, mean_of
from nasrun.report.collect import shown
from nasrun.report.groups import Group
from nasrun.report.published_tables import COLUMN_NAMES, published
from nasrun.report.ranking import Ranking
from nasrun.report.text_table import Cell, ReportTable, corner, mean_text, number_cell, text_cell

MAX_UNTOLD = 30  # comparisons that cannot tell are shown in tables up to this length
MAX_PAIRS = 100  # comparisons in a table for people


def all_tables(report: Report) -> list[ReportTable]:
    """List the tables in the order in which they are shown, without those that say nothing."""
    tables = [groups(report)] if report.rows else []
    tables += [grid(report, item, position) for position, item in enumerate(report.grids)]
    if report.pairs:
        tables.append(pairs(report))
    tables += [ranking(item, position) for position, item in enumerate(report.rankings)]
    tables += across_tables.all_of(report)
    tables += references(report)
    tables += predictors(report)
    tables += fronts(report)
    tables += details.all_of(report)
    tables += [table for item in report.published for table in published(report, item)]
    if report.left_out:
        tables.append(left_out(report))
    return tables


def groups(report: Report) -> ReportTable:
    """Lay out one row per group."""
    metric, keys = report.metric, report.grouping.keys
    several = len(report.datasets) > 1 and "dataset" not in keys
    rows = []
    best = {data: report.best_first(data)[0].summary.mean for data in report.datasets}
    extras = list(_extras(report))
    for row in report.rows:
        summary, item = row.summary, row.group
        settings = [text_cell(value) for value in item.settings.values()] or [text_cell(item.name)]
        if several:
            settings.insert(0, text_cell(item.dataset))
        winner = best[item.dataset] == summary.mean and len(report.rows_of(item.dataset)) > 1
        top = metric.best(row.values)
        rows.append(
            (
                *settings,
                Cell(str(summary.n), summary.n),
                Cell(metric.show(summary.mean), summary.mean, bold=winner),
                Cell(metric.show(summary.std), summary.std),
                *_interval_cells(summary.interval, metric),
                Cell(metric.show(top), top),
                *(number_cell(mean_of(item.runs, one), form, by) for _, one, form, by in extras),
            )
        )
    names = ["dataset"] * several + (list(keys) or ["group"])
    labels = [label for label, *_ in extras]
    columns = [*names, "n", "mean", "std", "95 %", "best", *labels]
    title = f"Groups: {metric.unit}"
    seen = {metrics.signal(run) for run in report.runs} - {metrics.VALIDATION, metrics.SHARED}
    note = " ".join([GROUPS_NOTE, *(f"Searches have seen the {name}." for name in sorted(seen))])
    return ReportTable("groups", title, tuple(columns), tuple(rows), note, len(names))


def _extras(report: Report) -> Iterator[tuple[str, metrics.Metric, str, float]]:
    """Yield label, metric, form and scale of each further column that has figures.

    Each kind of accuracy that searches have seen has a column of its own.
    """
    for label, key, form, scale in EXTRAS:
        several = {label: metrics.METRICS[key]}
        if key == "search_val_accuracy":
            found = metrics.of_each_signal(report.runs)
            several = {f"{_short(metric.label)} %": metric for metric in found}
        for name, metric in several.items():
            has_any = any(metric.of(run) is not None for run in report.runs)
            if key != report.metric.key and has_any:
                yield name, metric, form, scale


def _short(label: str) -> str:
    return label.replace("validation", "val").replace("accuracy", "acc")


EXTRAS = (  # label, metric, form, scale
    ("test acc %", "test_accuracy", ".2f", 100.0),
    ("search val acc %", "search_val_accuracy", ".2f", 100.0),
    ("regret %", "regret", ".3f", 100.0),
    ("hypervolume", "hypervolume", ".4f", 1.0),
    ("evaluations", "evaluations", ",.0f", 1.0),
    ("scorings", "scorings", ",.0f", 1.0),
    ("search s", "search_seconds", ",.1f", 1.0),
    ("GPU-days", "gpu_days", ".3g", 1.0),
    ("params M", "params", ".3f", 1e-6),
)
GROUPS_NOTE = (
    "std: over the n runs (n - 1); 95 %: percentile bootstrap interval of the mean, from 3 runs on "
    "(with fewer than 6 it is too narrow); other columns are means. GPU-days: of the search, where "
    "it ran on a GPU."
)


def _interval_cells(interval: tuple[float, float] | None, metric: metrics.Metric) -> list[Cell]:
    if interval is None:
        return [Cell("-")]
    return [Cell(" to ".join(metric.show(bound) for bound in interval), interval[0])]


def grid(report: Report, item: Grid, position: int) -> ReportTable:
    """Lay out rows of the first key, columns of the second."""
    best = item.metric.best([summary.mean for summary in item.cells.values()])
    rows = []
    for row in item.rows:
        cells = []
        for column in item.columns:
            summary = item.cells.get((row, column))
            if summary is None:
                cells.append(Cell("-"))
            else:
                text = mean_text(item.metric, summary)
                cells.append(Cell(text, summary.mean, bold=summary.mean == best))
        rows.append((text_cell(row), *cells))
    where = f" on {item.dataset}" if len(report.datasets) > 1 else ""
    return ReportTable(
        "grid" if position == 0 else f"grid_{position + 1}",
        f"{item.keys[0]} by {item.keys[1]}{where}: {item.metric.unit}",
        (corner(item.keys), *item.columns),
        tuple(rows),
        "Mean ± standard deviation (number of runs).",
    )


def pairs(report: Report) -> ReportTable:
    """Lay out the paired comparisons, the clearest first."""
    ordered = sorted(report.pairs, key=_clearest_first)
    note = PAIRS_NOTE
    told = [pair for pair in ordered if pair.comparison.p is not None]
    if len(told) < len(ordered) and len(ordered) > MAX_UNTOLD:
        note = f"{note} " * bool(told) + (
            f"{len(ordered) - len(told)} of {len(ordered)} comparisons cannot tell, for too few "
            f"common seeds or clusters: beside so many, {power.fewest_seeds(len(ordered))} or more "
            "could. They are in report_pairs.csv."
        )
        ordered = told
    if len(ordered) > MAX_PAIRS:
        note += f" The {MAX_PAIRS} clearest of {len(ordered)}; all are in report_pairs.csv."
    several = len(report.datasets) > 1
    rows = tuple(_pair_row(report, pair, several) for pair in ordered[:MAX_PAIRS])
    columns = ["A", "B", "verdict", "n", "A - B", "95 %", "wins / ties / losses"]
    columns += ["p", "p (Holm)", "effect"]
    return ReportTable(
        "pairs",
        f"Paired comparisons on common seeds: {report.metric.unit}",
        (*(["dataset"] * several), *columns),
        rows,
        note,
        4 if several else 3,
    )


PAIRS_NOTE = (
    "Pairs have equal seeds, and equal settings besides. p: Wilcoxon's signed rank test, "
    "two-sided; Holm: corrected for all comparisons on a dataset with at least 6 common seeds (or "
    "clusters); effect: matched-pairs rank-biserial correlation; wins are those of A. Cannot tell: "
    "with so few, no outcome whatever could have been significant; the seeds that would tell are "
    "those that show a difference with a probability of 80 %, assuming that it and its spread are "
    "as these seeds show them, at the level of .05 divided by all comparisons of the dataset."
)


def _clearest_first(pair: Pair) -> tuple[str, float, str, str]:
    p = pair.comparison.p_holm
    name = pair.first.name, pair.second.name
    return pair.first.dataset, 2.0 if p is None else p, *name


def _pair_row(report: Report, pair: Pair, several: bool) -> tuple[Cell, ...]:
    metric, item = report.metric, pair.comparison
    bounds = item.interval and tuple(metric.show(bound, signed=True) for bound in item.interval)
    empty = item.n == 0
    record = f"{item.wins} / {item.ties} / {item.losses}"
    return (
        *([text_cell(pair.first.dataset)] * several),
        text_cell(pair.first.name),
        text_cell(pair.second.name),
        text_cell(verdict_text(pair, report.num_compared(pair.first.dataset))),
        Cell(str(item.n), item.n),
        Cell("-") if empty else Cell(metric.show(item.difference, signed=True), item.difference),
        Cell(" to ".join(bounds), item.interval[0]) if bounds and item.interval else Cell("-"),
        Cell("-") if empty else Cell(record, record),
        number_cell(item.p, ".2g"),
        number_cell(item.p_holm, ".2g"),
        Cell("-") if item.effect is None else number_cell(item.effect, "+.2f"),
    )


def verdict_text(pair: Pair, num_comparisons: int = 1) -> str:
    """Write a verdict; one that cannot tell says how many seeds would, see `PAIRS_NOTE`."""
    item = pair.comparison
    if item.verdict == "cannot tell":
        few = f"(n = {item.n})" if item.units == item.n else f"({item.units} clusters)"
        told = f"cannot tell{': no common seeds' if item.n == 0 else f' {few}'}"
        needed = power.seeds_needed(item, num_comparisons)
        what = "seeds" if item.units == item.n else "clusters"
        if needed is None:
            return f"{told}, {power.fewest_seeds(num_comparisons)} {what} or more could"
        if needed >= power.MOST:
            return f"{told}, nor would {power.MOST:,} {what}"
        return f"{told}, about {needed:,} {what} would"
    better = {"first": "A is better", "second": "B is better"}
    unequal = "" if pair.knew_alike else " (unequal knowledge)"
    return f"{better.get(item.verdict, item.verdict)}{unequal}"


def ranking(item: Ranking, position: int) -> ReportTable:
    """Lay out the mean ranks, the best first."""
    ordered = sorted(item.mean_ranks.items(), key=lambda pair: pair[1])
    return ReportTable(
        "ranks" if position == 0 else f"ranks_{position + 1}",
        f"Ranks: all groups on {item.num_seeds} common seeds of {item.dataset}, Friedman's test "
        f"p = {item.p:.2g}",
        ("group", "mean rank"),
        tuple((text_cell(name), number_cell(mean, ".2f")) for name, mean in ordered),
        f"1 is the best. p: that all are alike; it is rough for few seeds, and does not say which "
        f"of them differ. Kendall's W = {item.agreement:.2f} (1: all seeds have the same order).",
    )


def references(report: Report) -> Iterator[ReportTable]:
    """Yield what the tables say of cells that need no search."""
    known = dict.fromkeys(place for one in report.references for place in one.accuracies)
    names = [f"{part}.{dataset}" for dataset, part in known]
    rows = tuple(
        (text_cell(one.name), *(number_cell(one.accuracies.get(at), ".2f", 100.0) for at in known))
        for one in report.references
    )
    if rows:
        columns = ("cell", *(COLUMN_NAMES.get(name, name) for name in names))
        note = "A search whose cell is no better than these has found nothing."
        yield ReportTable("references", "Cells that need no search: %", columns, rows, note)


def predictors(report: Report) -> Iterator[ReportTable]:
    """Yield Kendall's tau of each group's predictor, where there is one."""
    rows = []
    for row in report.rows:
        taus = [_tau_cell(row.group, key) for key in ("held_out_tau", "infill_tau")]
        if any(tau.value is not None for tau in taus):
            rows.append((text_cell(row.group.name), *taus))
    if rows:
        yield ReportTable(
            "predictors",
            "How the predictors rank: Kendall's tau with the truth at the end",
            ("group", "on architectures without a label", "on those it bought"),
            tuple(rows),
            "Mean ± standard deviation (number of runs). What was bought was chosen by the scores.",
        )


def fronts(report: Report) -> Iterator[ReportTable]:
    """Yield what each run with several objectives has found, an architecture a row."""
    all_runs = ((row.group.name, run) for row in report.rows for run in row.group.runs)
    found = [(name, run, members) for name, run in all_runs if (members := run.front)]
    names = list(dict.fromkeys(name for *_, members in found for one in members for name in one))
    rows = tuple(
        (
            text_cell(group),
            text_cell("-" if run.seed is None else run.seed),
            text_cell(f"{place} (chosen)" if place == 1 else place),
            *(number_cell(one.get(name), ",.5g") for name in names),
        )
        for group, run, members in found
        for place, one in enumerate(members, start=1)
    )
    if rows:
        title = "Fronts: what no other label of the run beats in all objectives"
        note = "nasrun retrain genotype=RUN takes the chosen one, genotype=RUN:2 another."
        yield ReportTable("fronts", title, ("group", "seed", "member", *names), rows, note, 3)


def _tau_cell(item: Group, key: str) -> Cell:
    values = [value for run in item.runs if (value := metrics.METRICS[key].of(run)) is not None]
    if not values:
        return Cell("-")
    mean, spread = statistics.mean_and_deviation(values)
    text = f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"
    return Cell(f"{text} ({len(values)})", mean)


def left_out(report: Report) -> ReportTable:
    """List every folder that was found and is not counted."""
    rows = tuple(
        (text_cell(shown(item.folder)), text_cell(item.status), text_cell(item.reason))
        for item in report.left_out
    )
    return ReportTable(
        "left_out", "Not counted", ("folder", "status", "reason"), rows, text_columns=3
    )

"""Lay out methods over all tasks: interquartile means, probabilities of improvement, ranks."""

from __future__ import annotations

from collections.abc import Iterator

from nasrun.report.across import MAX_COMPARED, Across
from nasrun.report.analysis import Report
from nasrun.report.text_table import Cell, ReportTable, number_cell, text_cell

SOURCE = "Agarwal et al., NeurIPS 2021"


def all_of(report: Report) -> Iterator[ReportTable]:
    """Yield the tables, none where too few groups have runs on every task."""
    if report.across is not None:
        yield _middles(report, report.across)
        yield _improvements(report.across)
        if report.across.ranks is not None:
            yield _ranks(report.across)


def _where(across: Across) -> str:
    num = len(across.tasks)
    return f"{num} tasks ({'; '.join(across.tasks)})" if num > 1 else across.tasks[0]


def _middles(report: Report, across: Across) -> ReportTable:
    metric = report.metric
    percent = metric.percent and not across.is_scaled
    form, scale = (".2f", 100.0) if percent else (".3f", 1.0)
    score = metric.unit if percent else metric.label
    if across.is_scaled:
        score = f"{metric.label}, 0 the worst run of a task and 1 its best"
    rows = tuple(
        (
            text_cell(one.name),
            Cell(str(one.num_runs), one.num_runs),
            number_cell(one.middle, form, scale),
            Cell(" to ".join(f"{scale * bound:{form}}" for bound in one.bounds), one.bounds[0]),
        )
        for one in across.standings
    )
    note = (
        f"Interquartile mean: of the middle half of all runs. 95 %: bootstrap of runs within each "
        f"task ({SOURCE}). At most {MAX_COMPARED} methods, those with 3 runs on every task."
    )
    title = f"Over all runs of {_where(across)}: {score}"
    return ReportTable("across", title, ("method", "n", "middle", "95 %"), rows, note)


def _improvements(across: Across) -> ReportTable:
    rows = tuple(
        (
            text_cell(one.first),
            text_cell(one.second),
            number_cell(one.probability, ".1f", 100.0),
            Cell(" to ".join(f"{100 * bound:.1f}" for bound in one.bounds), one.bounds[0]),
        )
        for one in across.improvements
    )
    note = (
        f"How likely a run of A is better than a run of B on the same task, a tie counting half "
        f"({SOURCE}). Above 50 in all of the interval: A is better more often than not."
    )
    title = "Probability of improvement, %"
    return ReportTable("improvements", title, ("A", "B", "A > B", "95 %"), rows, note, 2)


def _ranks(across: Across) -> ReportTable:
    ranks = across.ranks
    assert ranks is not None, "asked for where they are there"
    alike: dict[str, list[str]] = {name: [] for name in ranks.mean_ranks}
    for letter, together in zip("abcdefghijkl", ranks.alike, strict=False):
        for name in together:
            alike[name].append(letter)
    rows = tuple(
        (text_cell(name), number_cell(rank, ".2f"), text_cell(" ".join(alike[name]) or "-"))
        for name, rank in ranks.mean_ranks.items()
    )
    note = (
        f"Mean ranks of the means over {ranks.num_tasks} tasks, 1 the best. Methods that share a "
        f"letter are not told apart: their ranks differ by at most {ranks.critical:.2f}, Nemenyi's "
        f"critical difference at .05. p: Friedman's test by Iman and Davenport (Demšar, JMLR "
        "2006); rough for fewer than 10 tasks."
    )
    title = f"Ranks over tasks: p = {ranks.p:.2g}, critical difference {ranks.critical:.2f}"
    return ReportTable("across_ranks", title, ("method", "mean rank", "alike"), rows, note)

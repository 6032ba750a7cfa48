"""Draw the plots of a report: grids, curves, fronts and costs, each with values to be touched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nasrun.pictures import plots
from nasrun.report import aggregate_figures, drawing, space_map
from nasrun.report.analysis import Grid, Point, Report
from nasrun.report.collect import Run
from nasrun.report.curve_sets import CurveSet
from nasrun.report.curves import Curve
from nasrun.report.drawing import BRIGHT, COLOURS, DARK, GREY, Picture, Touch, short
from nasrun.report.text_table import mean_text

MAX_CURVES = 10
CLEAR = 4  # times the smallest: errors that differ by more are drawn on a logarithmic scale
MARKERS = {"GPU": "o", "CPU": "s", "table": "D"}
PAID = {"GPU": "on a GPU", "CPU": "on a CPU", "table": "labels' trainings, by the table"}


def figures(report: Report) -> Iterator[Picture]:
    """Yield everything that there is to see."""
    several = len(report.datasets) > 1
    for position, grid in enumerate(report.grids):
        name = "grid" if position == 0 else f"grid_{position + 1}"
        title = f"{grid.keys[0]} by {grid.keys[1]}: {grid.metric.unit}"
        yield Picture(name, title, *heat_map(grid))
    for curves in report.curve_sets:
        best = [row.group.name for row in report.best_first(curves.dataset)]
        suffix = f"_{_file_name(curves.dataset)}" if several else ""
        where = f", {curves.dataset}" if several else ""
        title = f"{curves.y_label}, against {curves.x_label}{where}"
        if curves.name.endswith("_alpha") or curves.name == "steps":
            title += "; no best is kept"
        yield Picture(f"curve_{curves.name}{suffix}", title, *curve_plot(curves, best))
    if report.across is not None:
        order = [row.group.name for data in report.datasets for row in report.best_first(data)]
        yield from aggregate_figures.pictures(report.across, report.metric, order)
    for dataset in report.datasets:
        yield from fronts(report, dataset, several)
        groups = [row.group for row in report.best_first(dataset)]
        yield from space_map.pictures(groups, dataset, several)
        points = [point for point in report.points if point.dataset == dataset]
        theirs = published_points(report, dataset)
        if len(points) > 1 or (points and theirs):
            suffix = f"_{_file_name(dataset)}" if several else ""
            error = report.metric.label.replace("accuracy", "error")
            title = f"{error} against the cost of the search, {dataset}"
            yield Picture(f"cost{suffix}", title, *cost_plot(points, theirs, error))


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


Drawn = tuple[Figure, list[Touch]]


def heat_map(grid: Grid) -> Drawn:
    """Draw means as numbers on colours; the best is bold."""
    scale = 100.0 if grid.metric.percent else 1.0
    values = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for (row, column), summary in grid.cells.items():
        values[grid.rows.index(row), grid.columns.index(column)] = scale * summary.mean
    left = 0.45 + 0.09 * max(len(short(row)) for row in grid.rows)  # inches
    width, height = left + 0.9 * len(grid.columns) + 0.1, 0.5 * len(grid.rows) + 0.65
    figure = Figure(figsize=(width, height), dpi=110)
    place = (left / width, 0.55 / height, 1 - (left + 0.1) / width, 1 - 0.65 / height)
    axes = figure.add_axes(place)
    colours = "viridis" if grid.metric.higher_is_better else "viridis_r"
    axes.imshow(values, cmap=colours, aspect="auto")
    axes.set_xticks(range(len(grid.columns)), map(short, grid.columns), parse_math=False)
    axes.set_yticks(range(len(grid.rows)), map(short, grid.rows), parse_math=False)
    axes.set_xlabel(short(grid.keys[1]), parse_math=False)
    axes.set_ylabel(short(grid.keys[0]), parse_math=False)
    low, high = np.nanmin(values), np.nanmax(values)
    best = high if grid.metric.higher_is_better else low
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            near_best = abs(value - best) < 0.4 * (high - low)  # there the colours are bright
            axes.text(x, y, grid.metric.show(value / scale), ha="center", va="center",
                      color=DARK if near_best else BRIGHT,
                      weight="bold" if value == best else "normal")  # fmt: skip
    touches = [
        Touch(axes, grid.columns.index(column), grid.rows.index(row),
              f"{row}, {column}: {mean_text(grid.metric, summary)}")
        for (row, column), summary in grid.cells.items()
    ]  # fmt: skip
    return figure, touches


def curve_plot(curves: CurveSet, best_first: Sequence[str]) -> Drawn:
    """Draw means and their bands; of many groups only the best."""
    names = [name for name in best_first if name in curves.curves]
    shown = {name: curves.curves[name] for name in names[:MAX_CURVES]}
    figure, axes = drawing.empty()
    if curves.name.startswith("seconds"):
        drawing.logarithmic(axes, [x for curve in shown.values() for x in curve.x[[0, -1]]])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    floor = _scale_of_errors(axes, curves, list(shown.values()))
    touches = []
    for name, curve in shown.items():
        colour, style = drawing.look(best_first.index(name))  # the same in all plots
        stairs = curves.is_staircase
        mean, low, high = (np.maximum(one, floor) for one in (curve.mean, curve.low, curve.high))
        axes.plot(curve.x, mean, color=colour, linestyle=style, linewidth=1.6,
                  drawstyle="steps-post" if stairs else "default",
                  marker="o" if len(curve.x) == 1 else None, markersize=4,
                  label=f"{short(name)} ({curve.n})")  # fmt: skip
        if curve.n > 1:
            axes.fill_between(curve.x, low, high, color=colour, alpha=0.15,
                              linewidth=0, step="post" if stairs else None)  # fmt: skip
        touches += [
            Touch(axes, float(curve.x[i]), float(mean[i]), _said(curves, name, curve, i))
            for i in drawing.thinned(len(curve.x))
        ]
    if len(shown) < len(names):
        axes.set_title(f"the {len(shown)} best of {len(names)} groups", fontsize=9)
    if curves.are_errors:
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]) if floor == -np.inf else None)
    axes.set_xlabel(curves.x_label)
    axes.set_ylabel(short(curves.y_label), parse_math=False)
    drawing.legend(figure, axes)
    return figure, touches


def _scale_of_errors(axes: Axes, curves: CurveSet, shown: Sequence[Curve]) -> float:
    """Choose the scale of the y axis, and return what is drawn in the place of lower values.

    Errors that differ much are drawn on a logarithmic scale, on which methods near the optimum can
    be told apart. It has no 0: a line below all that differs from it stands for that.
    """
    if not curves.are_errors:
        return -np.inf
    means = np.concatenate([curve.mean for curve in shown])
    above = means[means > 1e-9]  # what is less is the optimum, but for rounding
    if not len(above) or above.max() <= CLEAR * above.min():
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        return -np.inf
    low, high = float(above.min()), float(max(curve.high.max() for curve in shown))
    if len(above) == len(means):
        drawing.logarithmic_percent(axes, low / 1.3, 1.2 * high)
        return low / 1.3
    floor = low / 2
    drawing.logarithmic_percent(axes, floor / 1.3, 1.2 * high)
    axes.axhline(floor, color=GREY, linewidth=1.0, linestyle=(0, (2, 2)))
    name = "0: the optimum of the table" if curves.are_regrets else "0"
    axes.annotate(name, (1.0, floor), xycoords=("axes fraction", "data"), xytext=(0, 2),
                  textcoords="offset points", fontsize=7, color=GREY, ha="right")  # fmt: skip
    return floor


def _said(curves: CurveSet, name: str, curve: Curve, i: int) -> str:
    """Say the value of a curve at one of its points, with its band."""
    percent = curves.are_errors
    values = [f"{100 * one[i].round(9):.3g}" if percent else f"{one[i]:.3g}"
              for one in (curve.mean, curve.low, curve.high)]  # fmt: skip
    unit = " %" * percent
    band = f" ({values[1]} to {values[2]})" if curve.n > 1 else ""
    x = f"{curve.x[i]:,.4g}"
    return f"{name}\n{curves.x_label.partition(' (')[0]}: {x}\n{values[0]}{unit}{band}"


def fronts(report: Report, dataset: str, several: bool) -> Iterator[Picture]:
    """Yield the fronts of the runs on a dataset, by each pair of objectives with the first."""
    found: dict[tuple[str, str], list[tuple[str, Run]]] = {}
    for row in report.best_first(dataset):
        for run in row.group.runs:
            names = list(run.front[0]) if run.front else []
            for name in names[1:]:
                label = f"{row.group.name}, seed {run.seed}"
                found.setdefault((name, names[0]), []).append((label, run))
    for (x, y), runs in found.items():
        where = f", {dataset}" if several else ""
        suffix = f"_{_file_name(dataset)}" if several else ""
        title = f"Fronts: {y} against {x}{where}; the chosen architecture is full"
        yield Picture(f"front_{_file_name(x)}{suffix}", title, *front_plot(runs, x, y))


def front_plot(runs: Sequence[tuple[str, Run]], x: str, y: str) -> Drawn:
    """Draw the front of each run by two objectives; of many runs only the first."""
    figure, axes = drawing.empty()
    units = runs[0][1].objectives
    along, up = (plots.Axis(name, *units.get(name, ("", True))) for name in (x, y))
    touches = []
    for position, (label, run) in enumerate(runs[:MAX_CURVES]):
        values = np.array([(one[x], one[y]) for one in run.front if {x, y} <= one.keys()])
        plots.draw_front(axes, values, along, up, COLOURS[position % len(COLOURS)], short(label))
        touches += [
            Touch(axes, right, high, f"{label}, member {place}\n{x}: {right:,.5g}\n{y}: {high:.5g}")
            for place, (right, high) in enumerate(values.tolist(), start=1)
        ]
    axes.set_xlabel(short(along.label), parse_math=False)
    axes.set_ylabel(short(up.label), parse_math=False)
    if len(runs) > MAX_CURVES:
        axes.set_title(f"{MAX_CURVES} of {len(runs)} runs", fontsize=9)
    drawing.legend(figure, axes)
    return figure, touches


Published = Mapping[str, Sequence[tuple[str, float, float]]]


def published_points(report: Report, dataset: str) -> Published:
    """Return the published methods that have both a cost and an error.

    By dataset: name, GPU-days and test error (a fraction).
    """
    if report.metric.key != "test_accuracy":
        return {}
    return {
        item.points_dataset(dataset): [(name, x, y / 100) for name, x, y in item.points(dataset)]
        for item in report.published
        if item.scatter
    }


def cost_plot(points: Sequence[Point], published: Published, error: str) -> Drawn:
    """Draw errors against costs: logarithmic in the cost, and in errors that differ much."""
    figure, axes = drawing.empty()
    places = [place for theirs in published.values() for _, *place in theirs]
    days, errors = zip(*[(point.days, point.error) for point in points], *places, strict=True)
    drawing.logarithmic(axes, days)
    if min(errors) > 0 and max(errors) > 4 * min(errors):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(PercentFormatter(xmax=1))
        axes.tick_params(axis="y", which="both", labelsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    for position, point in enumerate(sorted(points, key=lambda point: point.error)):
        hollow = point.paid != "GPU"
        colour = COLOURS[position % len(COLOURS)]
        axes.scatter([point.days], [point.error], s=46, marker=MARKERS[point.paid], zorder=3,
                     facecolors="white" if hollow else colour, edgecolors=colour, linewidths=1.6,
                     label=f"{short(point.name)} ({PAID[point.paid]})"
                     if position < MAX_CURVES else None)  # fmt: skip
    for dataset, theirs in published.items():
        _, x, y = zip(*theirs, strict=True)
        axes.scatter(x, y, s=14, color=GREY, zorder=2, label=f"published, {dataset}, GPU-days")
    if len(points) > MAX_CURVES:
        axes.set_title(f"{len(points)} groups, the {MAX_CURVES} best with a name", fontsize=9)
    axes.set_xlabel("cost of the search, days")
    axes.set_ylabel(error)
    drawing.legend(figure, axes)
    for theirs in published.values():
        _label(axes, theirs)
    touches = [
        Touch(axes, point.days, point.error,
              f"{point.name}\n{point.days:.3g} days {PAID[point.paid]}\n{error} "
              f"{100 * point.error:.2f} %")
        for point in points
    ]  # fmt: skip
    touches += [
        Touch(axes, x, y, f"{name}, published\n{x:.3g} GPU-days\n{error} {100 * y:.2f} %")
        for theirs in published.values()
        for name, x, y in theirs
    ]
    return figure, touches


def _label(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the names of points beside them, the last ones first; none over another."""
    taken: list[tuple[float, float, float, float]] = []
    right = axes.get_window_extent().x1
    for name, x, y in reversed(points):
        start, middle = axes.transData.transform((x, y))  # pixels; a letter is about 6 wide
        length = 6.0 * len(name) + 6.0
        fits = start + length < right
        left = start if fits else start - length
        box = (left, middle - 5.0, left + length, middle + 5.0)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            axes.annotate(name, (x, y), xytext=(4 if fits else -4, 0), textcoords="offset points",
                          fontsize=6.5, color="#555555", va="center",
                          ha="left" if fits else "right")  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return (one[0] < other[2] and other[0] < one[2]) and (one[1] < other[3] and other[1] < one[3])

"""Draw the plots of a report once, and save them as PNG, SVG, and inside the page.

Names from files are never set as mathematics.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from nasrun.pictures import plots
from nasrun.report.analysis import CurveSet, Grid, Point, Report
from nasrun.report.collect import Run

# Okabe and Ito's colours, distinguishable with every kind of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
STYLES = ("solid", "dashed", "dotted")
GREY = "#888888"
FONT_ENDS = 0x530  # Latin, Greek and Cyrillic come before
MAX_CURVES = 10
WIDTH, HEIGHT = 4.8, 3.2  # inches, without the legend
MARKERS = {"GPU": "o", "CPU": "s", "table": "D"}
PAID = {"GPU": "on a GPU", "CPU": "on a CPU", "table": "labels' trainings, by the table"}


def figures(report: Report) -> Iterator[tuple[str, str, Figure]]:
    """Yield (name, title, figure) of everything that there is to see."""
    several = len(report.datasets) > 1
    for position, grid in enumerate(report.grids):
        name = "grid" if position == 0 else f"grid_{position + 1}"
        yield name, f"{grid.keys[0]} by {grid.keys[1]}: {grid.metric.unit}", heat_map(grid)
    for curves in report.curve_sets:
        best = [row.group.name for row in report.best_first(curves.dataset)]
        suffix = f"_{_file_name(curves.dataset)}" if several else ""
        where = f", {curves.dataset}" if several else ""
        title = f"{curves.y_label}, against {curves.x_label}{where}"
        yield f"curve_{curves.name}{suffix}", title, curve_plot(curves, best)
    for dataset in report.datasets:
        yield from fronts(report, dataset, several)
        points = [point for point in report.points if point.dataset == dataset]
        theirs = published_points(report, dataset)
        if len(points) > 1 or (points and theirs):
            suffix = f"_{_file_name(dataset)}" if several else ""
            error = report.metric.label.replace("accuracy", "error")
            title = f"{error} against the cost of the search, {dataset}"
            yield (
                f"cost{suffix}",
                title,
                cost_plot(points, theirs, error),
            )


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def heat_map(grid: Grid) -> Figure:
    """Draw means as numbers on colours; the best is bold."""
    scale = 100.0 if grid.metric.percent else 1.0
    values = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for (row, column), summary in grid.cells.items():
        values[grid.rows.index(row), grid.columns.index(column)] = scale * summary.mean
    left = 0.45 + 0.09 * max(len(_short(row)) for row in grid.rows)  # inches
    width, height = left + 0.9 * len(grid.columns) + 0.1, 0.5 * len(grid.rows) + 0.65
    figure = Figure(figsize=(width, height), dpi=110)
    place = (left / width, 0.55 / height, 1 - (left + 0.1) / width, 1 - 0.65 / height)
    axes = figure.add_axes(place)
    colours = "viridis" if grid.metric.higher_is_better else "viridis_r"
    axes.imshow(values, cmap=colours, aspect="auto")
    axes.set_xticks(range(len(grid.columns)), map(_short, grid.columns), parse_math=False)
    axes.set_yticks(range(len(grid.rows)), map(_short, grid.rows), parse_math=False)
    axes.set_xlabel(_short(grid.keys[1]), parse_math=False)
    axes.set_ylabel(_short(grid.keys[0]), parse_math=False)
    low, high = np.nanmin(values), np.nanmax(values)
    best = high if grid.metric.higher_is_better else low
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            near_best = abs(value - best) < 0.4 * (high - low)  # there the colours are bright
            axes.text(x, y, grid.metric.show(value / scale), ha="center", va="center",
                      color="black" if near_best else "white",
                      weight="bold" if value == best else "normal")  # fmt: skip
    return figure


def curve_plot(curves: CurveSet, best_first: Sequence[str]) -> Figure:
    """Draw means and their bands; of many groups only the best."""
    names = [name for name in best_first if name in curves.curves]
    shown = names[:MAX_CURVES]
    figure, axes = _empty()
    if curves.name == "seconds":
        _logarithmic(axes, [x for name in shown for x in curves.curves[name].x[[0, -1]]])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for position, name in enumerate(shown):
        curve = curves.curves[name]
        colour, style = COLOURS[position % len(COLOURS)], STYLES[position // len(COLOURS)]
        stairs = curves.is_staircase
        axes.plot(curve.x, curve.mean, color=colour, linestyle=style, linewidth=1.6,
                  drawstyle="steps-post" if stairs else "default",
                  marker="o" if len(curve.x) == 1 else None, markersize=4,
                  label=f"{_short(name)} ({curve.n})")  # fmt: skip
        if curve.n > 1:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15,
                              linewidth=0, step="post" if stairs else None)  # fmt: skip
    if len(shown) < len(names):
        axes.set_title(f"the {len(shown)} best of {len(names)} groups", fontsize=9)
    axes.set_xlabel(curves.x_label)
    axes.set_ylabel(curves.y_label)
    if curves.is_staircase:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    _legend(figure, axes)
    return figure


def fronts(report: Report, dataset: str, several: bool) -> Iterator[tuple[str, str, Figure]]:
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
        yield f"front_{_file_name(x)}{suffix}", title, front_plot(runs, x, y)


def front_plot(runs: Sequence[tuple[str, Run]], x: str, y: str) -> Figure:
    """Draw the front of each run by two objectives; of many runs only the first."""
    figure, axes = _empty()
    units = runs[0][1].objectives
    along, up = (plots.Axis(name, *units.get(name, ("", True))) for name in (x, y))
    for position, (label, run) in enumerate(runs[:MAX_CURVES]):
        values = np.array([(one[x], one[y]) for one in run.front if {x, y} <= one.keys()])
        plots.draw_front(axes, values, along, up, COLOURS[position % len(COLOURS)], _short(label))
    axes.set_xlabel(_short(along.label), parse_math=False)
    axes.set_ylabel(_short(up.label), parse_math=False)
    if len(runs) > MAX_CURVES:
        axes.set_title(f"{MAX_CURVES} of {len(runs)} runs", fontsize=9)
    _legend(figure, axes)
    return figure


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


def cost_plot(points: Sequence[Point], published: Published, error: str) -> Figure:
    """Draw errors against costs: logarithmic in the cost, and in errors that differ much."""
    figure, axes = _empty()
    places = [place for theirs in published.values() for _, *place in theirs]
    days, errors = zip(*[(point.days, point.error) for point in points], *places, strict=True)
    _logarithmic(axes, days)
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
                     label=f"{_short(point.name)} ({PAID[point.paid]})"
                     if position < MAX_CURVES else None)  # fmt: skip
    for dataset, theirs in published.items():
        _, x, y = zip(*theirs, strict=True)
        axes.scatter(x, y, s=14, color=GREY, zorder=2, label=f"published, {dataset}, GPU-days")
    if len(points) > MAX_CURVES:
        axes.set_title(f"{len(points)} groups, the {MAX_CURVES} best with a name", fontsize=9)
    axes.set_xlabel("cost of the search, days")
    axes.set_ylabel(error)
    _legend(figure, axes)
    for theirs in published.values():
        _label(axes, theirs)
    return figure


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


def _empty() -> tuple[Figure, Axes]:
    """Make a figure and its axes at a fixed place, in inches.

    A layout engine would draw everything twice.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=110)
    axes = figure.add_axes((0.82 / WIDTH, 0.5 / HEIGHT, 1 - 0.94 / WIDTH, 1 - 0.78 / HEIGHT))
    axes.grid(color=GREY, alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with plain numbers.

    It is at least a decade wide, so that a power of ten is in sight.
    """
    low, high = min(values), max(values)
    spread = 1.3 * max(1.0, (10 * low / high) ** 0.5)
    axes.set_xscale("log")
    axes.set_xlim(low / spread, high * spread)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    """Put the legend below the axes, where it hides nothing: the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 1 if max(map(len, labels)) > 30 else 2
    height = HEIGHT + 0.19 * -(-len(labels) // columns) + 0.08
    left, bottom, width, old = axes.get_position().bounds
    lift = height - HEIGHT  # inches
    figure.set_figheight(height)
    axes.set_position((left, (bottom * HEIGHT + lift) / height, width, old * HEIGHT / height))
    legend = figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.02, 0.0),
                           ncols=columns, fontsize=8, frameon=False)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(name: str) -> str:
    """Shorten a name to letters that the font has.

    A leading underscore would hide a legend's entry, and gets a space before it.
    """
    text = "".join(letter if ord(letter) < FONT_ENDS else "?" for letter in name)
    text = text if len(text) <= 45 else f"{text[:42]}..."
    return f" {text}" if text.startswith("_") else text


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def svg(figure: Figure) -> str:
    """Return an SVG whose text stays text; the same figure gives the same bytes."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "nasrun", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def inline(text: str, name: str) -> str:
    """Return the `<svg>` element of a picture of ours, for a page with several.

    Its ids become its own; its style sheet, which would hold for the whole page, and its metadata
    are dropped.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", element, flags=re.DOTALL)
    element = re.sub(r'(\sid="|url\(#|href="#)', rf"\1{name}-", element)
    return element.replace("<svg", '<svg role="img"', 1)

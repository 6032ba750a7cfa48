"""Draw methods over all runs of all tasks: interquartile means, profiles, probabilities, ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nasrun.report import drawing
from nasrun.report.across import Across
from nasrun.report.drawing import GREY, WIDTH, Picture, Touch, short
from nasrun.report.metrics import Metric
from nasrun.report.ranking import CriticalDifference

INK = "#000000"


def pictures(across: Across, metric: Metric, order: Sequence[str]) -> Iterator[Picture]:
    """Yield the pictures; see `nasrun.report.across`.

    Args:
        order: names of groups, as their colours go in the other plots.
    """
    names = [one.name for one in across.standings]
    if set(names) <= set(order):
        looks = {name: drawing.look(order.index(name)) for name in names}
    else:
        looks = {name: drawing.look(position) for position, name in enumerate(names)}
    score = score_name(across, metric)
    num = len(across.tasks)
    where = f", {num} tasks" if num > 1 else f", {short(across.tasks[0])}"
    rows = [(one.name, one.middle, one.bounds) for one in across.standings]
    percent = not across.is_scaled and metric.percent
    title = f"Interquartile mean{where}: {score}, 95 %"
    colours = [looks[name][0] for name in names]
    middles = _intervals(rows, f"{score}, middle half", percent, colours)
    yield Picture("across_middle", title, *middles)
    title = f"Performance profiles{where}: share of runs above a score"
    yield Picture("across_profile", title, *_profiles(across, score, percent, looks))
    best = across.standings[0].name
    chances = [
        (f"{short(best)} > {short(one.second)}", one.probability, one.bounds)
        for one in across.improvements
        if one.first == best
    ]
    label = "probability of improvement"
    drawn = _intervals(chances, label, True, colours[1:], middle=0.5)
    yield Picture("across_improvement", f"How likely a run of the best is better{where}", *drawn)
    if across.ranks is not None:
        title = f"Mean ranks over {across.ranks.num_tasks} tasks: joined methods are not told apart"
        yield Picture("across_ranks", title, *_ranks(across.ranks, looks))


def score_name(across: Across, metric: Metric) -> str:
    """Say what a score is."""
    return f"{metric.label}, scaled by task" if across.is_scaled else metric.label


Rows = Sequence[tuple[str, float, tuple[float, float]]]
Drawn = tuple[Figure, list[Touch]]
Looks = Mapping[str, tuple[str, str]]
"""Of each method the colour and the style of its line."""


def _intervals(
    rows: Rows, label: str, percent: bool, colours: Sequence[str], middle: float | None = None
) -> Drawn:
    """Draw a dot and its interval for each row, the first one on top."""
    height = 0.7 + 0.3 * len(rows)
    left = 0.3 + 0.075 * max(len(short(name)) for name, *_ in rows)
    width = max(WIDTH, left + 2.5)
    figure = Figure(figsize=(width, height), dpi=110)
    place = (left / width, 0.5 / height, 1 - (left + 0.25) / width, 1 - 0.6 / height)
    axes = figure.add_axes(place)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.3, linewidth=0.5, axis="x")
    if middle is not None:
        axes.axvline(middle, color=GREY, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlim(-0.02, 1.02)
    touches = []
    for place_y, ((name, value, (low, high)), colour) in enumerate(zip(rows, colours, strict=True)):
        axes.plot([low, high], [place_y, place_y], color=colour, linewidth=5, alpha=0.35,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([value], [place_y], color=colour, marker="o", markersize=5)
        told = [f"{100 * one:.2f}" if percent else f"{one:.3f}" for one in (value, low, high)]
        text = f"{name}\n{told[0]}{' %' * percent} ({told[1]} to {told[2]})"
        touches.append(Touch(axes, value, place_y, text))
    axes.set_yticks(range(len(rows)), [short(name) for name, *_ in rows], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(short(label), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure, touches


def _profiles(across: Across, score: str, percent: bool, looks: Looks) -> Drawn:
    figure, axes = drawing.empty()
    touches = []
    for one in across.standings:
        colour, style = looks[one.name]
        axes.plot(across.thresholds_T, one.profile_T, color=colour, linestyle=style,
                  linewidth=1.6, drawstyle="steps-pre",
                  label=f"{short(one.name)} ({one.num_runs})")  # fmt: skip
        axes.fill_between(across.thresholds_T, one.low_T, one.high_T, color=colour, alpha=0.15,
                          linewidth=0, step="pre")  # fmt: skip
        for i in drawing.thinned(len(across.thresholds_T)):
            at = float(across.thresholds_T[i])
            above = f"above {100 * at:.2f} %" if percent else f"above {at:.3f}"
            text = f"{one.name}\n{above}: {one.profile_T[i]:.0%} of the runs"
            touches.append(Touch(axes, at, float(one.profile_T[i]), text))
    axes.set_xlabel(short(score), parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel("share of runs above")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    drawing.legend(figure, axes)
    return figure, touches


def _ranks(ranks: CriticalDifference, looks: Looks) -> Drawn:
    """Draw mean ranks on a line, with bars below that join what is not told apart (Demšar)."""
    names = list(ranks.mean_ranks)
    half = -(-len(names) // 2)
    height = 0.75 + 0.22 * half + 0.16 * len(ranks.alike)
    figure = Figure(figsize=(WIDTH + 1.2, height), dpi=110)
    axes = figure.add_axes((0.22, 0.02, 0.56, 0.96))
    axes.set_axis_off()
    top, step = 0.0, 0.22
    first_label = 0.25 + 0.16 * len(ranks.alike)
    axes.set_xlim(len(names), 1)  # the best on the right, as in the paper
    axes.set_ylim(first_label + step * half, -0.6)
    axes.plot([1, len(names)], [top, top], color=INK, linewidth=1, clip_on=False)
    for tick in range(1, len(names) + 1):
        axes.plot([tick, tick], [top, top - 0.07], color=INK, linewidth=1, clip_on=False)
        axes.text(tick, top - 0.12, f"{tick}", fontsize=8, ha="center", va="bottom")
    shown = min(ranks.critical, len(names) - 1)
    axes.plot([1, 1 + shown], [top - 0.42] * 2, color=INK, linewidth=1.6, clip_on=False)
    axes.text(1 + shown / 2, top - 0.45, f"critical difference {ranks.critical:.2f}", fontsize=7,
              ha="center", va="bottom")  # fmt: skip
    touches = []
    for place, (name, rank) in enumerate(ranks.mean_ranks.items()):
        right = place < half
        row = place if right else len(names) - 1 - place
        y, end = first_label + step * row, (1.0 if right else float(len(names)))
        colour = looks[name][0]
        axes.plot([rank, rank, end], [top, y, y], color=colour, linewidth=1, clip_on=False)
        axes.annotate(f"{short(name)}", (end, y), xytext=(4 if right else -4, 0),
                      textcoords="offset points", fontsize=8, va="center",
                      ha="left" if right else "right", parse_math=False)  # fmt: skip
        touches.append(Touch(axes, rank, top, f"{name}\nmean rank {rank:.2f}"))
    for line, together in enumerate(ranks.alike):
        ends = [ranks.mean_ranks[together[0]] - 0.04, ranks.mean_ranks[together[-1]] + 0.04]
        axes.plot(ends, [0.14 + 0.16 * line] * 2, color=INK, linewidth=3.5,
                  solid_capstyle="butt", clip_on=False)  # fmt: skip
    return figure, touches

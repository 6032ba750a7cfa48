"""Draw a search: mixing weights, the best label so far, and how a predictor ranks.

matplotlib is used through figure objects, never through pyplot, whose figures are global.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

if TYPE_CHECKING:
    from nasrun.protocols.predictor import Ranking  # which imports torch

INK, GREY = "#0072B2", "#999999"


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as an RGB picture (H, W, 3), uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def heat_map(weights_EO: np.ndarray, operations: Sequence[str], title: str) -> Figure:
    """Draw mixing weights: one row per edge, one column per operation.

    The colour scale is fixed to [0, 1], so that the pictures of different epochs can be compared.
    """
    edges, columns = weights_EO.shape
    figure = Figure(figsize=(0.55 * columns + 2.2, 0.28 * edges + 1.6), dpi=80, layout="tight")
    axes = figure.add_subplot()
    picture = axes.imshow(weights_EO, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    axes.set_title(f"{title}: weight of each operation")
    axes.set_ylabel("edge")
    axes.set_yticks(range(edges))
    axes.set_xticks(range(columns), list(operations) or None, rotation=40, ha="right")
    figure.colorbar(picture, ax=axes)
    return figure


def best_so_far(values_L: np.ndarray, name: str) -> Figure:
    """Draw a staircase over the labels; `values_L` in [0, 1], a NaN is left out.

    Args:
        name: what is drawn: `regret`, `validation error`.
    """
    figure, axes = _empty(name, "true evaluations", name)
    axes.step(np.arange(1, len(values_L) + 1), values_L, where="post", color=INK)
    axes.set_xlim(left=1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


def predicted_against_true(ranking: Ranking, what: str) -> Figure:
    """Draw a point per architecture.

    Args:
        what: says which architectures.
    """
    score_N, accuracy_N = ranking.score_N, ranking.accuracy_N
    title = f"{len(score_N):,} architectures {what}"
    if ranking.tau is not None:
        title += f", Kendall's tau {ranking.tau:.3f}"
    figure, axes = _empty(title, "predicted score", "accuracy")
    dense = len(score_N) > 500
    axes.scatter(score_N, accuracy_N, s=4 if dense else 16, alpha=0.3 if dense else 0.8, color=INK,
                 linewidths=0, rasterized=dense)  # fmt: skip
    bottom = float(np.quantile(accuracy_N, 0.05))  # few failures must not hide the rest
    axes.set_ylim(bottom=max(0.0, bottom - 0.02))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    return figure


@dataclass(frozen=True)
class Axis:
    """An objective as an axis shows it: name, unit, and whether less of it is better."""

    name: str
    unit: str
    less_is_better: bool = True

    @property
    def label(self) -> str:
        return f"{self.name.replace('_', ' ')}, {self.unit}" if self.unit else self.name


def front(values_N2: np.ndarray, labels_L2: np.ndarray, x: Axis, y: Axis) -> Figure:
    """Draw the members of a front by two objectives, each with its place in `front.json`.

    Args:
        values_N2: x and y of the members, the chosen one first.
        labels_L2: those of all that was evaluated, drawn behind them; failures are left out.
    """
    figure, axes = _empty(f"front: {len(values_N2)} of {len(labels_L2)} labels", x.label, y.label)
    behind_L2 = _finite(labels_L2)
    axes.scatter(behind_L2[:, 0], behind_L2[:, 1], s=12, color=GREY, linewidths=0, label="labels")
    draw_front(axes, values_N2, x, y, INK, "front")
    for place, (right, up) in enumerate(values_N2.tolist(), start=1):
        axes.annotate(f"{place}", (right, up), xytext=(4, 4), textcoords="offset points",
                      fontsize=7)  # fmt: skip
    axes.legend(fontsize=8, frameon=False)
    # few labels that are far off must not hide the front
    middle, ends = np.median(behind_L2[:, 1]), values_N2[:, 1]
    low, high = min(ends.min(), middle), max(ends.max(), middle)
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    return figure


def draw_front(
    axes: Axes, values_N2: np.ndarray, x: Axis, y: Axis, colour: str, label: str
) -> None:
    """Draw a front as stairs of what it dominates; the chosen member, which is first, is full.

    Where more of an objective is better, a line joins the members instead.
    """
    line_N2 = values_N2[np.lexsort(values_N2.T[::-1])]
    stairs = x.less_is_better and y.less_is_better
    axes.plot(*line_N2.T, color=colour, linewidth=1.2, label=label,
              drawstyle="steps-post" if stairs else "default")  # fmt: skip
    if values_N2[:, 0].max() >= 10_000:  # 2 M reads better than 2 with a 1e6 at the end
        axes.xaxis.set_major_formatter(EngFormatter())
    faces = [colour, *["white"] * (len(values_N2) - 1)]
    axes.scatter(
        values_N2[:, 0], values_N2[:, 1], s=26, facecolors=faces, edgecolors=colour, zorder=3
    )


def _finite(values_N2: np.ndarray) -> np.ndarray:
    finite: np.ndarray = values_N2[np.isfinite(values_N2).all(axis=1)]
    return finite


def _empty(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, 3.4), dpi=100)
    axes = figure.add_axes((0.15, 0.14, 0.81, 0.77))  # a fixed place: a layout engine draws twice
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=GREY, alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes

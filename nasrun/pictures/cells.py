"""Draw cells: SVG and PNG files, and an array for TensorBoard.

A cell is drawn as the graph that it is, nodes and labelled edges from left to right; nothing here
knows a search space. matplotlib is used through figure objects, never through pyplot, whose
figures are global.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.pictures.cell_text import node_names, short_name
from nasrun.pictures.layout import Layout, Route, arrange
from nasrun.pictures.plots import pixels
from nasrun.terminal.text import printable

FORMATS = (".svg", ".png")
MAX_EDGES = 400  # a picture of a cell with more would show nothing

# Okabe and Ito's colours, distinguishable with every kind of colour blindness; by the first word
# of an operation's name, so that the same operation has the same colour in all pictures.
COLOURS = {
    "skip": "#999999",
    "sep": "#0072B2",
    "dil": "#56B4E9",
    "max": "#D55E00",
    "avg": "#E69F00",
    "conv": "#009E73",
}
OTHER_COLOURS = ("#CC79A7", "#F0E442", "#000000")
GREY = "#AAAAAA"
INK = "#222222"

# All lengths are in inches.
NODE_HEIGHT = 0.30
LABEL_HEIGHT = 0.22
CHARACTER_WIDTH = 0.078
GAP = 0.42  # between neighbouring ranks, for the curves
SLOT = 0.36  # between two points of one rank
MARGIN = 0.18
TITLE_HEIGHT = 0.32


def colour(operation: str) -> str:
    """Return the colour of an operation, the same in all pictures."""
    if operation == "none":
        return GREY
    family = short_name(operation).partition(" ")[0]
    other = OTHER_COLOURS[zlib.crc32(family.encode()) % len(OTHER_COLOURS)]
    return COLOURS.get(family, other)


class _Sizes(NamedTuple):
    """Widths in inches, common to all cells of a picture so that their columns agree."""

    node: float
    label: float

    def x(self, rank: int) -> float:
        """Return the middle of a rank: nodes are at even ranks, labels at odd ones."""
        step = (self.node + self.label) / 2 + GAP
        return MARGIN + self.node / 2 + rank * step


def draw(genotype: Genotype, path: Path) -> None:
    """Write a picture to `path`, an .svg or .png file, as a whole or not at all.

    Raises:
        UsageError: another suffix, a folder that does not exist, or a graph too large to draw.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} cannot be drawn: the file name ends in {' or '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be drawn: there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # The same genotype gives the same bytes: fixed ids, no date; text stays text.
    with matplotlib.rc_context({"svg.hashsalt": "nasrun", "svg.fonttype": "none"}):
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else None
        try:
            _figure(genotype).savefig(partial, format=kind, metadata=metadata)
            os.replace(partial, path)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)


def image(genotype: Genotype) -> np.ndarray:
    """Return the picture as image_HWC, uint8 RGB."""
    return pixels(_figure(genotype))


def _figure(genotype: Genotype) -> Figure:
    for cell in genotype.cells:
        if len(cell.edges) > MAX_EDGES:
            raise UsageError(f"cell '{cell.name}' has more than {MAX_EDGES} edges to draw")
    layouts = [arrange(cell) for cell in genotype.cells]
    nodes = [name for cell in genotype.cells for name in node_names(cell)]
    labels = [label_of(route) for layout in layouts for route in layout.routes]
    sizes = _Sizes(
        max(0.42, 0.16 + CHARACTER_WIDTH * max((len(_plain(name)) for name in nodes), default=0)),
        CHARACTER_WIDTH * max((len(label) for label in labels), default=0) + 0.14,
    )
    last = max((max(layout.ranks, default=0) for layout in layouts), default=0)
    width = sizes.x(last) + sizes.node / 2 + MARGIN
    rows = [TITLE_HEIGHT + SLOT * (_extent(layout) + 1) + MARGIN for layout in layouts]
    figure = Figure(figsize=(width, sum(rows)), dpi=120, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, sum(rows)))
    axes.set_axis_off()
    top = sum(rows)
    for cell, layout, height in zip(genotype.cells, layouts, rows, strict=True):
        _draw_cell(axes, cell, layout, sizes, top)
        top -= height
    return figure


def _extent(layout: Layout) -> float:
    return max(layout.heights, default=0) - min(layout.heights, default=0)


def label_of(route: Route) -> str:
    """Return what stands on an edge; joining the outputs of the nodes is no operation."""
    return "" if route.edge.operation == "concat" else short_name(route.edge.operation)


def _draw_cell(axes: Axes, cell: Cell, layout: Layout, sizes: _Sizes, top: float) -> None:
    axes.text(MARGIN, top - 0.22, printable(cell.name), fontsize=11, weight="bold", color=INK,
              va="center", parse_math=False)  # fmt: skip
    upper = top - TITLE_HEIGHT - SLOT / 2
    lowest = min(layout.heights, default=0)
    places = [
        (sizes.x(rank), upper - SLOT * (height - lowest))
        for rank, height in zip(layout.ranks, layout.heights, strict=True)
    ]
    for route in layout.routes:
        _draw_edge(axes, route, layout, places, sizes)
    for name, place in zip(node_names(cell), places, strict=False):
        _box(axes, place, (sizes.node, NODE_HEIGHT), "#F4F4F4", INK)
        shown = _mathematics(name)
        axes.text(*place, shown, fontsize=9, ha="center", va="center", color=INK, zorder=4,
                  parse_math=shown != name)  # fmt: skip


def _draw_edge(
    axes: Axes, route: Route, layout: Layout, places: list[tuple[float, float]], sizes: _Sizes
) -> None:
    operation = route.edge.operation
    quiet = operation in ("concat", "none")
    line = FancyArrowPatch(
        path=_curve(route, layout, places, sizes),
        arrowstyle="-|>,head_length=4,head_width=2",
        color=GREY if quiet else (colour(operation) if operation else INK),
        linewidth=0.9 if quiet else 1.5,
        linestyle=(0, (3, 2)) if operation == "none" else "solid",
        shrinkA=0,
        shrinkB=0,
        zorder=1 if quiet else 2,
        fill=False,
    )
    axes.add_patch(line)
    label = label_of(route)
    if label:
        place = places[route.label]
        _box(axes, place, (sizes.label, LABEL_HEIGHT), "white", colour(operation))
        axes.text(*place, label, fontsize=8, ha="center", va="center", color=INK, zorder=4,
                  parse_math=False)  # fmt: skip


def _curve(route: Route, layout: Layout, places: list[tuple[float, float]], sizes: _Sizes) -> Curve:
    """Draw an edge from the right side of one box to the left side of the other.

    It bends between the ranks and is level across them, so that it touches no other box.
    """
    stops = []
    for point in route.points:
        half = (sizes.label if layout.ranks[point] % 2 else sizes.node) / 2
        x, y = places[point]
        stops += [(x - half, y), (x + half, y)]
    vertices, codes = [stops[1]], [Curve.MOVETO]
    for (left, start), (right, end), beyond in zip(
        stops[1::2], stops[2::2], stops[3::2], strict=False
    ):
        bend = (left + right) / 2
        vertices += [(bend, start), (bend, end), (right, end), beyond]
        codes += [Curve.CURVE4] * 3 + [Curve.LINETO]
    return Curve(vertices[:-1], codes[:-1])


def _box(
    axes: Axes, place: tuple[float, float], size: tuple[float, float], face: str, edge: str
) -> None:
    corner = (place[0] - size[0] / 2, place[1] - size[1] / 2)
    style = f"round,pad=0,rounding_size={size[1] / 3}"
    axes.add_patch(
        FancyBboxPatch(corner, *size, style, facecolor=face, edgecolor=edge, linewidth=1, zorder=3)
    )


_SUBSCRIPT = re.compile(r"([a-z])_\{([a-z0-9+-]+)\}")


def _mathematics(name: str) -> str:
    """Set `c_{k-2}` as a letter with an index; anything else stays as it is."""
    return f"${name}$" if _SUBSCRIPT.fullmatch(name) else name


def _plain(name: str) -> str:
    return _SUBSCRIPT.sub(r"\1\2", name)

"""Share what the plots of a report have: axes, scales, legends, colours, values to be touched.

Names from files are never set as mathematics. Colours of the page's light and dark scheme take the
place of those of a file; see `inline`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's colours, distinguishable with every kind of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
STYLES = ("solid", "dashed", "dotted")
GREY = "#888888"
BRIGHT, DARK = "#fefefe", "#010101"  # on colours that are the same in both schemes
FONT_ENDS = 0x530  # Latin, Greek and Cyrillic come before
WIDTH, HEIGHT = 4.8, 3.2  # inches, without the legend
POINTS_PER_INCH = 72
MAX_TOUCHED = 60  # points of a curve that say their values
# what the page has its own colours for, by its two schemes
SCHEME = {"#ffffff": "paper", "#000000": "ink", "#888888": "grey", "#555555": "quiet"} | {
    colour.lower(): f"c{place}" for place, colour in enumerate(COLOURS) if colour != "#000000"
}


@dataclass(frozen=True)
class Touch:
    """A place in a plot, in the units of its axes, and what is said of it."""

    axes: Axes
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A plot with its name, which is that of its files, and its caption."""

    name: str
    caption: str
    figure: Figure
    touches: Sequence[Touch] = field(default=())
    is_wide: bool = False  # whether it needs the width of the page

    def places(self) -> list[tuple[float, float, str]]:
        """Return the touches in the units of the SVG file, points from the upper left corner."""
        scale = POINTS_PER_INCH / self.figure.dpi
        height = self.figure.get_figheight() * POINTS_PER_INCH
        found = []
        for axes in dict.fromkeys(one.axes for one in self.touches):
            axes.get_xlim(), axes.get_ylim()  # limits are found when they are asked for
            mine = [one for one in self.touches if one.axes is axes]
            at = scale * axes.transData.transform([(one.x, one.y) for one in mine])
            places = zip(at[:, 0].round(1).tolist(), (height - at[:, 1]).round(1).tolist(), mine,
                         strict=True)  # fmt: skip
            found += [(x, y, one.text) for x, y, one in places]
        return found


def look(position: int) -> tuple[str, str]:
    """Return the colour and the style of the line at a position."""
    return COLOURS[position % len(COLOURS)], STYLES[position // len(COLOURS) % len(STYLES)]


def empty() -> tuple[Figure, Axes]:
    """Make a figure and its axes at a fixed place, in inches.

    A layout engine would draw everything twice.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=110)
    axes = figure.add_axes((0.82 / WIDTH, 0.5 / HEIGHT, 1 - 0.94 / WIDTH, 1 - 0.78 / HEIGHT))
    axes.grid(color=GREY, alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with plain numbers.

    It is at least a decade wide, so that a power of ten is in sight.
    """
    low, high = min(values), max(values)
    spread = 1.3 * max(1.0, (10 * low / high) ** 0.5)
    axes.set_xscale("log")
    axes.set_xlim(low / spread, high * spread)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def logarithmic_percent(axes: Axes, low: float, high: float) -> None:
    """Make the y axis logarithmic between two fractions, with 1, 2 and 5 percent and their kin."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    few = high / low > 300
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.10g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def thinned(length: int) -> list[int]:
    """Return the places of at most `MAX_TOUCHED` points, evenly spread, both ends among them."""
    if length <= MAX_TOUCHED:
        return list(range(length))
    return sorted({round(i * (length - 1) / (MAX_TOUCHED - 1)) for i in range(MAX_TOUCHED)})


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend below the axes, where it hides nothing: the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = 1 if max(map(len, labels)) > 30 else 2
    old_height = figure.get_figheight()
    height = old_height + 0.19 * -(-len(labels) // columns) + 0.08
    left, bottom, width, old = axes.get_position().bounds
    lift = height - old_height  # inches
    figure.set_figheight(height)
    axes.set_position(
        (left, (bottom * old_height + lift) / height, width, old * old_height / height)
    )
    drawn = figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.02, 0.0),
                          ncols=columns, fontsize=8, frameon=False)  # fmt: skip
    for text in drawn.get_texts():
        text.set_parse_math(False)


def short(name: str) -> str:
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
    are dropped; its colours become those of the page's scheme.
    """
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", element, flags=re.DOTALL)
    element = re.sub(r'(\sid="|url\(#|href="#)', rf"\1{name}-", element)
    element = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _own_colour, element)
    return element.replace("<svg", '<svg role="img"', 1)


def _own_colour(match: re.Match[str]) -> str:
    name = SCHEME.get(match[2])
    return match[0] if name is None else f"{match[1]}: var(--{name})"

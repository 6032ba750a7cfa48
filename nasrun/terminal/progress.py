"""Show how far a run is: bars with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nasrun.terminal import console
from nasrun.terminal.console import Item, tame
from nasrun.terminal.text import printable

SHOWN = {
    "loss": "loss",
    "train_loss": "loss",
    "accuracy": "accuracy",
    "train_accuracy": "accuracy",
    "val_accuracy": "val accuracy",
    "val_score": "val score",
    "fitness_best": "fitness",
}
PERCENT = ("accuracy", "val accuracy", "val score", "best")


class Display:
    """The progress of a run: live bars with an ETA on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None
        self._outer: Any = None
        self._inner: Any = None
        self._phase = self._unit = ""
        self._total: int | None = None
        self._first = 0
        self._started = 0.0

    def start(self, phase: str, unit: str, total: int | None, done: int) -> None:
        """Begin a phase of `total` steps (if known), `done` of which an earlier run has made."""
        self.finish()
        self._phase, self._unit, self._total, self._first = phase, unit, total, done
        self._started = time.monotonic()
        if self._quiet or not console.console().is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console.console(),
            transient=True,
        )
        self._outer = self._bars.add_task(
            f"{phase} {unit}", total=total, completed=done, figures=""
        )
        self._inner = self._bars.add_task("", total=1, figures="", visible=False)
        self._bars.start()

    def progress(self, done: int, total: int, **figures: float) -> None:
        """Show the work inside a step."""
        if self._bars is not None:
            self._bars.update(
                self._inner,
                description="  in this one",
                total=total,
                completed=done,
                visible=True,
                figures=_format(figures),
            )

    def step(self, number: int, metrics: Mapping[str, float], best: float | None) -> str:
        """Show that one step is done; return its figures as they are shown."""
        figures = {label: metrics[key] for key, label in SHOWN.items() if key in metrics}
        if best is not None:
            figures["best"] = best
        text = _format(figures)
        if self._bars is not None:
            self._bars.update(self._outer, completed=number, figures=text)
            self._bars.update(self._inner, visible=False)
        elif not self._quiet:
            total = self._total or "?"
            self.message(f"{self._phase} {self._unit} {number}/{total}  {text}{self._eta(number)}")
        return text

    def message(self, text: str) -> None:
        if not self._quiet:
            console.console().print(tame(text), markup=False, soft_wrap=True)

    def finish(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _eta(self, number: int) -> str:
        if self._total is None or number >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) / (number - self._first)
        return f"  ETA {duration(seconds * (self._total - number))}"


def _format(figures: Mapping[str, float]) -> str:
    parts = []
    for name, value in figures.items():
        parts.append(f"{name} {value:.2%}" if name in PERCENT else f"{name} {value:.4g}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> duration(75), duration(3675)
    ('1:15', '1:01:15')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Bar:
    """Progress on standard error: a bar with an ETA on a terminal, else a line every ten seconds.

    It is a `Progress`. One piece of work may follow another; each ends when all of it is done.
    """

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._started: float | None = None
        self._said = 0.0

    def __call__(self, done: int, total: int, **figures: float) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = self._said = now
        if console.console(stderr=True).is_terminal:
            self._draw(done, total)
        elif now - self._said > self.SECONDS_BETWEEN_LINES and 0 < done < total:
            self._said = now
            eta = duration((now - self._started) / done * (total - done))
            console.complain(f"{self._title} {done / total:.0%}  ETA {eta}")
        if done >= total:
            self.close()

    def close(self) -> None:
        self._started = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, done: int, total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn(self._title),
                BarColumn(),
                TimeRemainingColumn(),
                console=console.console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(0, completed=done, total=total)


class Board:
    """A live table of the progress of several pieces of work, on a terminal.

    Each row has a bar, and a line stands below the table.
    """

    def __init__(self) -> None:
        self._live: Any = None

    @property
    def is_live(self) -> bool:
        return console.console().is_terminal

    def draw(self, rows: Sequence[tuple[str, str, str, float | None, str]], foot: str) -> None:
        """Draw the table.

        Each row is a name, a gloss, what is done, how much of it (in [0, 1]), and the rest; rows
        that the terminal has no room for are counted.
        """
        from rich.console import Group
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._live is None:
            self._live = Live(
                console=console.console(),
                auto_refresh=False,
                transient=True,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start()
        grid = Table.grid(padding=(0, 2, 0, 0))
        for style in ("bold", "cyan", "", "", ""):
            grid.add_column(style=style, no_wrap=True, overflow="ellipsis")
        room = max(1, console.console().height - 4)
        for name, gloss, what, share, rest in rows[:room]:
            bar = ProgressBar(1.0, share, width=20) if share is not None else ""
            grid.add_row(*(Text(printable(text)) for text in (name, gloss, what)), bar, Text(rest))
        if len(rows) > room:
            foot = f"and {len(rows) - room} more; {foot}"
        self._live.update(Group(grid, Text(printable(foot))), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def tracked(items: Iterable[Item], total: int, progress: Callable[..., None]) -> Iterator[Item]:
    """Yield the items; `progress` hears of every thousandth, and of the end."""
    for done, item in enumerate(items):
        if done % 1000 == 0:
            progress(done, total)
        yield item
    progress(total, total)

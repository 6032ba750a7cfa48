"""What people see in the terminal. The only module that imports rich, and only when it draws."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from nasrun.cell_text import printable

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
MAX_COMPLAINT = 800  # characters of a line; a file may have a name or a value of any length


@functools.cache
def console(stderr: bool = False) -> Console:
    """The one console per stream, so that log lines scroll above a live progress bar."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def say(text: str) -> None:
    """Write lines to standard output."""
    sys.stdout.write(f"{_tame(text)}\n")


def complain(text: str) -> None:
    """Write a message about a mistake or a failure to standard error."""
    sys.stdout.flush()  # what was said before stands before it
    sys.stderr.write(f"nasrun: {_tame(text, MAX_COMPLAINT)}\n")


def _tame(text: str, most: int | None = None) -> str:
    """Lines that a terminal only shows: names in files of strangers may hold control characters,
    which it would obey. Of a line longer than `most` the middle is left out."""
    lines = [printable(line.expandtabs()) for line in text.split("\n")]
    if most is not None:
        lines = [line if len(line) <= most else f"{line[: most - 160]} ... {line[-150:]}"
                 for line in lines]  # fmt: skip
    return "\n".join(lines)


def listing(sections: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Names and glosses under headings: wrapped and coloured on a terminal, else one line each."""
    if not sys.stdout.isatty():
        say(plain_listing(sections))
        return
    from rich.table import Table
    from rich.text import Text

    width = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
    for position, (heading, rows) in enumerate(sections.items()):
        if position:
            console().print()
        console().print(Text(printable(heading), style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=width + 2, no_wrap=True, style="cyan")
        table.add_column()
        for name, gloss in rows:
            table.add_row(Text(f"  {printable(name)}"), Text(printable(gloss)))
        console().print(table)


def plain_listing(sections: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """The same for a pipe or a file: nothing is wrapped, so that lines can be searched."""
    width = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
    blocks = [
        "\n".join([heading, *(f"  {name:<{width}}  {gloss}".rstrip() for name, gloss in rows)])
        for heading, rows in sections.items()
    ]
    return "\n\n".join(blocks)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> None:
    """A table; the first columns are texts, the others are numbers and stand to the right."""
    if not sys.stdout.isatty():
        say(plain_table(title, columns, rows, text_columns))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(_tame(title)) if title else None  # a `str` would be read as markup
    drawn = Table(title=heading, box=box.SIMPLE_HEAD, title_justify="left")
    for position, column in enumerate(columns):
        justify: Any = "left" if position < text_columns else "right"
        drawn.add_column(Text(printable(column)), justify=justify, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console().print(drawn)


def plain_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> str:
    """The same for a pipe or a file, as wide as it needs to be."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if position < text_columns else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (columns, *rows)
    ]
    return "\n".join([title, *lines] if title else lines)


SHOWN = {
    "loss": "loss",
    "train_loss": "loss",
    "accuracy": "accuracy",
    "train_accuracy": "accuracy",
    "val_accuracy": "val accuracy",
    "fitness_best": "fitness",
}
PERCENT = ("accuracy", "val accuracy", "best")


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
        """A new phase of `total` steps (if known), `done` of which an earlier run has made."""
        self.finish()
        self._phase, self._unit, self._total, self._first = phase, unit, total, done
        self._started = time.monotonic()
        if self._quiet or not console().is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console(),
            transient=True,
        )
        self._outer = self._bars.add_task(
            f"{phase} {unit}", total=total, completed=done, figures=""
        )
        self._inner = self._bars.add_task("", total=1, figures="", visible=False)
        self._bars.start()

    def progress(self, done: int, total: int, **figures: float) -> None:
        """Work inside a step."""
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
        """One step is done; returns its figures as they are shown."""
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
            console().print(_tame(text), markup=False, soft_wrap=True)

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
    """
    >>> duration(75), duration(3675)
    ('1:15', '1:01:15')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Bar:
    """A `Progress`, on standard error: a bar with an ETA on a terminal, elsewhere a line every ten
    seconds. One piece of work may follow another; each ends when all of it is done."""

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
        if console(stderr=True).is_terminal:
            self._draw(done, total)
        elif now - self._said > self.SECONDS_BETWEEN_LINES and 0 < done < total:
            self._said = now
            eta = duration((now - self._started) / done * (total - done))
            complain(f"{self._title} {done / total:.0%}  ETA {eta}")
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
                console=console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task("", total=total)
            self._bar.start()
        self._bar.update(0, completed=done, total=total)


class Board:
    """The progress of several pieces of work, on a terminal: a live table with a bar in each row,
    and a line below it."""

    def __init__(self) -> None:
        self._live: Any = None

    @property
    def is_live(self) -> bool:
        return console().is_terminal

    def draw(self, rows: Sequence[tuple[str, str, str, float | None, str]], foot: str) -> None:
        """Each row is a name, a gloss, what is done, how much of it (in [0, 1]), and the rest; rows
        that the terminal has no room for are counted."""
        from rich.console import Group
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._live is None:
            self._live = Live(
                console=console(),
                auto_refresh=False,
                transient=True,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start()
        grid = Table.grid(padding=(0, 2, 0, 0))
        for style in ("bold", "cyan", "", "", ""):
            grid.add_column(style=style, no_wrap=True, overflow="ellipsis")
        room = max(1, console().height - 4)
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
    """The items; `progress` hears of every thousandth, and of the end."""
    for done, item in enumerate(items):
        if done % 1000 == 0:
            progress(done, total)
        yield item
    progress(total, total)

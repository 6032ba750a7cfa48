"""Show how far a run is: bars with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nasrun.terminal import console
from nasrun.terminal.console import Item, tame
from nasrun.terminal.pace import Pace, Tally, eta
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
    """The progress of a run: live bars with an ETA on a terminal, plain lines elsewhere.

    Args:
        clock: gives seconds.
        jobs: of the sweep that the run belongs to; they have a bar of their own.
    """

    def __init__(
        self,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        jobs: Tally | None = None,
    ) -> None:
        self._jobs = jobs
        self._quiet = quiet
        self._seconds = clock
        self._bars: Any = None
        self._outer: Any = None
        self._inner: Any = None
        self._phase = self._unit = ""
        self._total: int | None = None
        self._done = 0
        self._inner_done = 0
        self._pace = self._inner_pace = Pace(clock=clock)

    def start(self, phase: str, unit: str, total: int | None, done: int) -> None:
        """Begin a phase of `total` steps (if known), `done` of which an earlier run has made."""
        self.finish()
        self._phase, self._unit, self._total, self._done = phase, unit, total, done
        self._pace = Pace(done, self._seconds)
        self._begin_inner()
        if self._quiet or not console.console().is_terminal:
            return
        from nasrun.terminal.bars import Bars

        self._bars = Bars()
        if self._jobs is not None:
            whole = self._jobs
            self._bars.add_task(
                "all jobs", total=whole.total, completed=whole.done, pace=whole.pace
            )
        self._outer = self._bars.add_task(
            f"{phase} {unit}", total=total, completed=done, pace=self._pace
        )
        self._inner = self._bars.add_task("", total=1, pace=self._pace, visible=False)
        self._bars.figures = ["", ""]
        self._bars.start()

    def progress(self, done: int, total: int, **figures: float) -> None:
        """Show the work inside a step."""
        if self._bars is None:
            return
        if done < self._inner_done:  # another piece of work of the same step
            self._inner_pace = Pace(done, self._seconds)
        self._inner_done = done
        self._inner_pace.reached(done)
        share = self._done + done / max(1, total)
        self._pace.reached(share)
        self._bars.update(self._outer, completed=share)
        self._bars.update(
            self._inner,
            description="  in this one",
            total=total,
            completed=done,
            visible=True,
            pace=self._inner_pace,
        )
        self._bars.figures[1] = _format(figures)

    def _begin_inner(self) -> None:
        self._inner_done, self._inner_pace = 0, Pace(clock=self._seconds)

    def step(self, number: int, metrics: Mapping[str, float], best: float | None) -> str:
        """Show that one step is done; return its figures as they are shown."""
        figures = {label: metrics[key] for key, label in SHOWN.items() if key in metrics}
        if best is not None:
            figures["best"] = best
        text = _format(figures)
        self._done = number
        self._pace.reached(number)
        self._begin_inner()
        if self._bars is not None:
            self._bars.update(self._outer, completed=number)
            self._bars.update(self._inner, visible=False)
            self._bars.figures = [text, ""]
        elif not self._quiet:
            total = self._total or "?"
            left = eta(self._pace.remaining(self._total)) if number != self._total else ""
            line = f"{self._phase} {self._unit} {number}/{total}  {text}  {left}"
            self.message(line.rstrip())
        return text

    def message(self, text: str) -> None:
        if not self._quiet:
            on = console.console()
            on.print(tame(text), markup=False, soft_wrap=not on.is_terminal)

    def finish(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _format(figures: Mapping[str, float]) -> str:
    parts = []
    for name, value in figures.items():
        parts.append(f"{name} {value:.2%}" if name in PERCENT else f"{name} {value:.4g}")
    return "  ".join(parts)


class Bar:
    """Progress on standard error: a bar with an ETA on a terminal, else a line every ten seconds.

    It is a `Progress`. One piece of work may follow another; each ends when all of it is done.
    """

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._pace: Pace | None = None
        self._said = 0.0

    def __call__(self, done: int, total: int, **figures: float) -> None:
        if self._pace is None:
            self._pace, self._said = Pace(), 0.0
        self._pace.reached(done)
        if console.console(stderr=True).is_terminal:
            self._draw(done, total)
        elif self._pace.seconds - self._said > self.SECONDS_BETWEEN_LINES and 0 < done < total:
            self._said = self._pace.seconds
            left = eta(self._pace.remaining(total))
            console.complain(f"{self._title} {done / total:.0%}  {left}")
        if done >= total:
            self.close()

    def close(self) -> None:
        self._pace = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, done: int, total: int) -> None:
        from nasrun.terminal.bars import Bars

        if self._bar is None:
            self._bar = Bars(stderr=True)
            self._bar.add_task(self._title, total=total, pace=self._pace)
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
        bar_width = 20 if console.console().width >= 100 else 8
        grid = Table.grid(padding=(0, 1, 0, 0))
        for style in ("bold", "cyan", "", "", ""):
            # the settings of a job, the only column that may be cut, make room for the others
            grid.add_column(style=style, no_wrap=style != "cyan", overflow="ellipsis")
        room = max(1, console.console().height - 4)
        for name, gloss, what, share, rest in rows[:room]:
            bar = ProgressBar(1.0, share, width=bar_width) if share is not None else ""
            settings = Text(printable(gloss), no_wrap=True, overflow="ellipsis")
            grid.add_row(Text(printable(name)), settings, Text(printable(what)), bar, Text(rest))
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

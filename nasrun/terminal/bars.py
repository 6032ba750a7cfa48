"""Draw bars whose figures have lines of their own, so that a narrow terminal keeps the bars.

It imports rich, and is imported only where something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from nasrun.terminal import console
from nasrun.terminal.pace import Pace, eta
from nasrun.terminal.text import printable

BAR_WIDTH, SHORT_BAR_WIDTH = 20, 8


class _Count(ProgressColumn):
    """So many whole steps of so many; the bar itself shows parts of a step too."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:.0f}"
        return Text(f"{int(task.completed)}/{total}")


class _Eta(ProgressColumn):
    """When it ends; rich's own column knows nothing once a step takes half a minute."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        pace: Pace = task.fields["pace"]
        return Text(eta(pace.remaining(task.total)) or "ETA -:--", style="cyan")


class Bars(Progress):
    """Bars with a name, a count and an ETA; below them the figures, which wrap where they must."""

    def __init__(self, stderr: bool = False) -> None:
        self.figures: list[str] = []
        on = console.console(stderr=stderr)
        width = BAR_WIDTH if on.width >= 60 else SHORT_BAR_WIDTH
        super().__init__(
            TextColumn(
                "[bold]{task.description}",
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=width, table_column=Column(min_width=width)),
            _Count(table_column=Column(no_wrap=True, justify="right")),
            _Eta(table_column=Column(no_wrap=True, min_width=len("ETA 0:00:00"))),
            console=on,
            transient=True,
            redirect_stdout=not stderr,
            redirect_stderr=not stderr,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for line in self.figures:
            if line:
                yield Padding(Text(printable(line)), (0, 0, 0, 2))

"""Show what people see in the terminal.

The only module that imports rich, and only when it draws.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from nasrun.terminal.text import printable, wrapped

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
MAX_COMPLAINT = 800  # characters of a line; a file may have a name or a value of any length


@functools.cache
def console(stderr: bool = False) -> Console:
    """Return the one console per stream, so that log lines scroll above a live progress bar."""
    from rich.console import Console

    # in a notebook too, plain lines: bars would need widgets
    return Console(stderr=stderr, highlight=False, force_jupyter=False)


def say(text: str) -> None:
    """Write lines to standard output."""
    sys.stdout.write(f"{tame(text)}\n")


def complain(text: str) -> None:
    """Write a message about a mistake or a failure to standard error."""
    sys.stdout.flush()  # what was said before stands before it
    lines = f"nasrun: {tame(text, MAX_COMPLAINT)}".split("\n")
    columns = width(sys.stderr)
    sys.stderr.write("".join(f"{wrapped(line, columns, len('nasrun: '))}\n" for line in lines))


def width(stream: TextIO) -> int | None:
    """Return the columns of a terminal; `None` for a pipe or a file, where nothing is wrapped."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def tame(text: str, most: int | None = None) -> str:
    """Return lines that a terminal shows and does not obey.

    Names in files of strangers may hold control characters, which are replaced. Of a line longer
    than `most` the middle is left out.
    """
    lines = [printable(line.expandtabs()) for line in text.split("\n")]
    if most is not None:
        lines = [line if len(line) <= most else f"{line[: most - 160]} ... {line[-150:]}"
                 for line in lines]  # fmt: skip
    return "\n".join(lines)


def listing(sections: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Print names and glosses under headings.

    They are wrapped and coloured on a terminal, else one line each.
    """
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
    """Return the listing as text for a pipe or a file.

    Nothing is wrapped, so that lines can be searched.
    """
    width = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
    blocks = [
        "\n".join([heading, *(f"  {name:<{width}}  {gloss}".rstrip() for name, gloss in rows)])
        for heading, rows in sections.items()
    ]
    return "\n\n".join(blocks)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> None:
    """Print a table; the first columns are texts, the others numbers that stand to the right."""
    if not sys.stdout.isatty():
        say(plain_table(title, columns, rows, text_columns))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(tame(title)) if title else None  # a `str` would be read as markup
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
    """Return the table as text for a pipe or a file, as wide as it needs to be."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if position < text_columns else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (columns, *rows)
    ]
    return "\n".join([title, *lines] if title else lines)

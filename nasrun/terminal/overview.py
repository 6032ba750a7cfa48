"""Show many things of one kind, a line each: in groups, with facts in columns.

In a pipe or a file each line has everything, so that lines can be searched; on a terminal it fits.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nasrun.terminal.console import console, say
from nasrun.terminal.text import printable

Line = list[tuple[str, str]]  # pieces of text, each with its style
GAP = "  "


@dataclass(frozen=True)
class Entry:
    """A line of an overview. The first fact is said at more length where there is room for it."""

    name: str
    facts: tuple[str, ...]
    first_in_full: str = ""
    gloss: str = ""  # a sentence, for a pipe
    below: tuple[tuple[str, str], ...] = ()  # names and sentences of what belongs to it


@dataclass(frozen=True)
class Overview:
    """Entries under headings, with names of the columns, and sentences that explain them."""

    columns: tuple[str, ...]  # of the name and of the facts
    sections: Mapping[str, Sequence[Entry]]
    legend: tuple[str, ...]

    def show(self) -> None:
        """Print it as wide as the terminal."""
        if not sys.stdout.isatty():
            say(self.plain())
            return
        from rich.text import Text

        for line in self.lines(console().width):
            console().print(Text.assemble(*line), soft_wrap=True)

    def plain(self) -> str:
        """Return it as text of any width, with the glosses."""
        widths, blocks = self._widths(False), list[str]()
        for heading, entries in self.sections.items():
            lines = [heading]
            for entry in entries:
                cells = [*_padded(self._row(entry, False), widths), entry.gloss]
                lines.append(f"  {GAP.join(cells)}".rstrip())
                left = widths[0] - 2
                lines += [f"    {name:<{left}}{GAP}{text}" for name, text in entry.below]
            blocks.append("\n".join(lines))
        return "\n\n".join([*blocks, "\n".join(self.legend)])

    def lines(self, width: int) -> Iterator[Line]:
        """Yield the lines for a terminal of so many columns; facts that do not fit run over."""
        in_full = len("  " + GAP.join(_padded(self.columns, self._widths(True)))) <= width
        widths = self._widths(in_full)
        yield [("  " + GAP.join(_padded(self.columns, widths)).rstrip(), "dim")]
        for heading, entries in self.sections.items():
            yield []
            yield from ([(text, "bold")] for text in textwrap.wrap(printable(heading), width))
            for entry in entries:
                name, *facts = _padded(self._row(entry, in_full), widths)
                yield [(f"  {name}{GAP}", "cyan"), (GAP.join(facts).rstrip(), "")]
                for other, text in entry.below:
                    yield from _below(other, text, 2 + widths[0] + len(GAP), width)
        yield []
        for sentence in self.legend:
            yield from ([(text, "dim")] for text in textwrap.wrap(sentence, width))

    def _row(self, entry: Entry, in_full: bool) -> tuple[str, ...]:
        first, *others = entry.facts
        shown = (entry.first_in_full or first) if in_full else first
        return tuple(map(printable, (entry.name, shown, *others)))

    def _widths(self, in_full: bool) -> list[int]:
        entries = (entry for entries in self.sections.values() for entry in entries)
        rows = [self.columns, *(self._row(entry, in_full) for entry in entries)]
        return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]


def _below(name: str, text: str, left: int, width: int) -> Iterator[Line]:
    """Yield a name, and beside it a sentence that is wrapped; both may begin at any column."""
    start = f"    {printable(name)}{GAP}".ljust(left)
    first, *others = textwrap.wrap(
        printable(text), max(40, width), initial_indent=start, subsequent_indent=" " * left
    )
    yield [(first[: len(start)], "cyan"), (first[len(start) :], "dim")]
    yield from ([(other, "dim")] for other in others)

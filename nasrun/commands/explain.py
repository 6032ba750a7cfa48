"""`nasrun explain KEY|OPTION`: what it is, what it can be, its values, and who reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from nasrun.config import catalogue
from nasrun.config.commands import argument_parser
from nasrun.config.explanations import Explanation, Rows, explain
from nasrun.terminal import console

WIDTH = 80
MOST_BESIDE = 36  # characters of a name beside which a text stands; else the text is below it


def main(arguments: Sequence[str]) -> None:
    """Print what each word stands for; raise `UsageError` for one that stands for nothing."""
    parser = argument_parser("explain")
    parser.add_argument("words", nargs="+")
    found = [explain(word, catalogue.conf_dir()) for word in parser.parse_args(arguments).words]
    console.say("\n\n".join("\n".join(_lines(one)) for one in found))


def _lines(told: Explanation) -> Iterator[str]:
    yield from textwrap.wrap(told.title, WIDTH, break_on_hyphens=False)
    yield from _columns(told.facts)
    for heading, rows in told.tables.items():
        if rows:
            yield from ("", f"{heading}:")
            yield from _columns(rows)


def _columns(rows: Rows) -> Iterator[str]:
    """Yield names with their texts beside them, wrapped."""
    indent = 4 + min(max((len(name) for name, _ in rows), default=0), MOST_BESIDE)
    for name, text in rows:
        lines = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False)
        if len(name) > MOST_BESIDE and lines:
            lines.insert(0, "")
        first, *others = lines or [""]
        yield f"  {name:<{indent - 2}}{first}".rstrip()
        yield from (" " * indent + other for other in others)

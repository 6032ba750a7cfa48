"""`nasrun explain KEY|OPTION`: what it is, what it can be, its values, and who reads it."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.config import catalogue
from nasrun.config.commands import argument_parser
from nasrun.config.explanations import explain
from nasrun.terminal import console

WIDTH = 80


def main(arguments: Sequence[str]) -> None:
    """Print what each word stands for; raise `UsageError` for one that stands for nothing."""
    parser = argument_parser("explain")
    parser.add_argument("words", nargs="+")
    found = [explain(word, catalogue.conf_dir()) for word in parser.parse_args(arguments).words]
    console.say("\n\n".join("\n".join(one.lines(WIDTH)) for one in found))

"""Make text from files of strangers safe to print.

Ours, because rich takes away five control characters, and terminals obey many more.
"""

from __future__ import annotations

import shlex
import textwrap


def command(*words: object) -> str:
    """Write a command line that can be pasted into a shell, whatever is in its words.

    >>> command("nasrun", "show", "my runs/1")
    "nasrun show 'my runs/1'"
    """
    return shlex.join(map(str, words))


def printable(text: str) -> str:
    """Replace what a terminal would obey or cannot print by question marks.

    Files of strangers may hold control characters.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def wrapped(text: str, width: int | None, hang: int) -> str:
    """Wrap a sentence between words, its further lines `hang` columns to the right.

    A word that is longer than a line, such as a path, stays whole; without a width nothing changes.

    >>> wrapped("warning alpha hardly moves", 20, 8)
    'warning alpha hardly\\n        moves'
    """
    if width is None or len(text) <= width:
        return text
    return textwrap.fill(
        text,
        max(width, hang + 20),
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )

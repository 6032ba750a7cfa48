"""Make text from files of strangers safe to print.

Ours, because rich takes away five control characters, and terminals obey many more.
"""

from __future__ import annotations

import shlex


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

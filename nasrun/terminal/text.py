"""Make text from files of strangers safe to print.

Ours, because rich takes away five control characters, and terminals obey many more.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Files of strangers may hold control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

"""Make text from files of strangers safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Files of strangers may hold control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

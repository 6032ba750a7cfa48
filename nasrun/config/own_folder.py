"""Know a person's own folder (`--config-dir`), whose options stand beside the built-in ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nasrun.errors import UsageError

FLAGS = ("--config-dir", "-cd")
_known: list[Path] = []


def named(words: Sequence[str]) -> str | None:
    """Return the folder that a command line gives, `None` where it gives none."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in FLAGS:
            rest = list(words[position + 1 : position + 2])
            return value if equals else next(iter(rest), "")
    return None


@contextmanager
def looked_into(folder: str | None) -> Iterator[None]:
    """Have the catalogue look into a folder, too, within the context; `None` is no folder.

    Raises:
        UsageError: there is no such folder.
    """
    if folder is None:
        yield
        return
    own = Path(os.path.expanduser(folder)).absolute()
    if not own.is_dir():
        raise UsageError(f"--config-dir={folder}: there is no such folder")
    _known.append(own)
    try:
        yield
    finally:
        _known.remove(own)


def folders() -> list[Path]:
    return list(_known)

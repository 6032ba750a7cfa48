"""Read the JSON-lines files of a run, which may be cut off, damaged, or of a stranger."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the objects of a file, and notes on what cannot be read; a missing one is empty."""
    if not path.exists():
        return [], []
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is not a file")
        content = path.read_bytes()
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror}"]
    texts = content.decode("utf-8", "replace").splitlines()
    whole = _parse(f"[{','.join(texts)}]")  # faster than line by line
    found = whole if isinstance(whole, list) and len(whole) == len(texts) else map(_parse, texts)
    lines = [line for line in found if isinstance(line, dict)]
    broken = len(texts) - len(lines)
    notes = [f"{path.name}: {broken} of {len(texts)} lines are unreadable"] if broken else []
    return lines, notes


def _parse(text: str) -> object:
    """Parse JSON; return `None` for any other text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

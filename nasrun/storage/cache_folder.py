"""Say where the program keeps what is costly to make again.

Ours, because it is one line; `platformdirs` would move the caches of people who have one already.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the folder for things of one kind in the user's cache, by the XDG convention."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "nasrun" / kind


def table_places(name: str) -> list[Path]:
    """List where a benchmark's table is looked for, in order; the last is where imports go."""
    folders = [cache_folder("tables")]
    if os.environ.get("NASRUN_DATA"):
        folders.insert(0, Path(os.environ["NASRUN_DATA"]))
    return [folder / f"{name}.npz" for folder in folders]

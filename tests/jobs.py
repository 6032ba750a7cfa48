"""Where the jobs of a sweep are: in folders whose names begin with their numbers."""

from __future__ import annotations

from pathlib import Path


def job(home: Path | str, number: int) -> Path:
    """The folder of a job; that of a bare number where it has not begun."""
    return next(Path(home).glob(f"{number}-*"), Path(home) / str(number))

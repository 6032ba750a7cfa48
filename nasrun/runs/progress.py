"""Record in `progress.json` how far a run is, so that others can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nasrun.errors import UsageError
from nasrun.runs.folder import RunFolder, read_json

PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a phase of a run is: `search`, `epoch`, 3 steps done of 50."""

    phase: str
    unit: str
    done: int
    total: int | None  # `None` where nobody knows it yet

    @property
    def share(self) -> float | None:
        """Return the share that is done, in [0, 1]; `None` where the total is not known."""
        return None if self.total is None else min(1.0, self.done / max(1, self.total))

    def __str__(self) -> str:
        return f"{self.phase} {self.unit} {self.done}/{self.total or '?'}"

    def write(self, folder: RunFolder) -> None:
        folder.write_json(PROGRESS_FILE, asdict(self))


def progress_of(folder: Path) -> Progress | None:
    """Read the newest record of a run, or of a floor that runs before it; `None` without one."""
    found = [path for place in (".", "floor/*") for path in folder.glob(f"{place}/{PROGRESS_FILE}")]
    try:
        newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
        content = None if newest is None else read_json(newest)
    except (OSError, UsageError):  # it is being replaced, or damaged
        return None
    return _checked(content) if isinstance(content, Mapping) else None


def _checked(content: Mapping[str, object]) -> Progress | None:
    phase, unit, done, total = (content.get(key) for key in ("phase", "unit", "done", "total"))
    named = isinstance(phase, str) and isinstance(unit, str)
    counted = type(done) is int and (total is None or type(total) is int)
    return Progress(phase, unit, done, total) if named and counted else None  # type: ignore[arg-type]

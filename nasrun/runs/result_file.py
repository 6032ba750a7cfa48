"""Read the result of a run, which may be of an earlier version, or from a stranger."""

from __future__ import annotations

from pathlib import Path

from nasrun.errors import UsageError
from nasrun.protocols.result import Result
from nasrun.runs.folder import read_json

RESULT_FILE = "result.json"


def read_result(folder: Path) -> Result:
    """Read `result.json` of a run folder.

    Raises:
        UsageError: there is none, or it is not the result of a run.
    """
    path = folder / RESULT_FILE
    try:
        return Result.from_json(read_json(path))
    except ValueError:
        raise UsageError(f"{path} is not the result of a run") from None

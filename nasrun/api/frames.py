"""Hand records to Python: as a DataFrame where pandas is installed, else as a list of mappings."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def table(records: Sequence[dict[str, Any]]) -> Any:
    """Return a `pandas.DataFrame` with a row per record, or the records without pandas."""
    with contextlib.suppress(ImportError):
        from pandas import DataFrame

        return DataFrame(list(records))
    return list(records)


@dataclass(frozen=True)
class Reported:
    """A report that was written.

    Attributes:
        folder: where its files are.
        page: `report.html`, one page with everything in it.
        groups: a row per group of runs that differ in nothing but the seed.
        pairs: a row per comparison of two groups.
        runs: a row per run, with every figure that a run can have.

    The last three are DataFrames where pandas is installed, else lists of mappings; accuracies are
    fractions in [0, 1].
    """

    folder: Path
    page: Path
    groups: Any
    pairs: Any
    runs: Any

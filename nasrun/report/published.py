"""Show what papers report of the same experiments; `published_figures.yaml` has the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nasrun.report.collect import Run


@dataclass(frozen=True)
class Published:
    """One published table or statement, all figures as texts.

    `rows` are lists by column, `null` where nothing is printed; in a grid they are the cells of
    each row: [accuracy in percent, million parameters].
    """

    name: str
    title: str
    source: str
    kind: str  # grid, rows, statement
    note: str
    columns: tuple[str, ...] = ()
    rows: Any = ()
    recipes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    runs: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = ""
    metric: str = ""
    scatter: str = ""  # `true` where it has errors and costs
    methods: Mapping[str, Sequence[str]] = field(default_factory=dict)  # row -> our names of it

    def fits(self, runs: Sequence[Run], keys: Sequence[str]) -> bool:
        """Return whether a report on `runs`, compared by `keys`, should show it."""
        if self.keys and set(self.keys) == set(keys):
            return True
        return any(
            run.overrides.get("experiment") in self.recipes
            or (bool(self.runs) and self.is_about(run))
            for run in runs
        )

    def is_about(self, run: Run) -> bool:
        """Return whether a run has searched one of its spaces, on one of its datasets."""
        return _meets(run, self.runs)

    def place(self, name: str) -> int | None:
        """Return the row of a strategy's option or of a published cell, by its name here."""
        methods = [row[0] for row in self.rows]
        rows = (row for row, names in self.methods.items() if name in names)
        return next((methods.index(row) for row in rows), None)

    def cell(self, row: str, column: str) -> tuple[str, str] | None:
        """Return the entry of a grid at two numbers, whichever way they are written."""
        rows = {float(key): cells for key, cells in self.rows.items()}
        places = [float(name) for name in self.columns]
        try:
            accuracy, params = rows[float(row)][places.index(float(column))]
        except (KeyError, ValueError):
            return None
        return accuracy, params

    def points_dataset(self, dataset: str) -> str:
        """Return which of its datasets is shown beside results on `dataset`: that, or its first."""
        known = [name.partition(".")[2] for name in self.columns if name.startswith("error.")]
        return dataset if dataset in known else known[0]

    def points(self, dataset: str) -> Iterator[tuple[str, float, float]]:
        """Yield name, GPU-days, error in percent of each method that has both."""
        days = self.columns.index("gpu_days")
        error = self.columns.index(f"error.{self.points_dataset(dataset)}")
        for row in self.rows:
            if "null" not in (row[days], row[error]):
                yield row[0], float(row[days]), float(row[error])


def _meets(run: Run, conditions: Mapping[str, Any]) -> bool:
    if conditions.get("table") and run.number("table", "regret") is None:
        return False
    wanted = {"space": run.space, "dataset": run.dataset}
    return all(wanted[key] in allowed for key, allowed in conditions.items() if key in wanted)


@cache
def all_published() -> tuple[Published, ...]:
    """Read all that is known of published figures."""
    text = Path(__file__).with_name("published_figures.yaml").read_text(encoding="utf-8")
    content = yaml.load(text, yaml.BaseLoader)  # plain texts, nothing else
    return tuple(
        Published(**{**entry, "source": content["sources"][entry["source"]]})
        for entry in content["figures"]
    )


def fitting(runs: Sequence[Run], keys: Sequence[str]) -> Iterator[Published]:
    """Return the figures to be shown beside `runs`, which are compared by `keys`."""
    compared = [key for key in keys if key != "dataset"]
    return (item for item in all_published() if item.fits(runs, compared))

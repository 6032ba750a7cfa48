"""Read from results what a benchmark table says of cells that nobody needs to search for.

They stand beside the searches: a search that they beat has found nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasrun.report.collect import Run, number, shown


@dataclass(frozen=True)
class Reference:
    """A cell of a space; its accuracies, in [0, 1], by dataset and part: `cifar10`, `test`."""

    name: str
    space: str
    accuracies: Mapping[tuple[str, str], float]


def references(runs: Sequence[Run]) -> list[Reference]:
    """List the cells that the runs name, each once, in the order in which they come."""
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for run in runs:
        for cell in _cells(run):
            key = shown(cell["name"])[:80], run.space
            known = found.setdefault(key, {})
            for dataset, figures in _by_dataset(cell, run.dataset):
                for part in ("val", "test"):
                    accuracy = number(figures, f"{part}_accuracy")
                    if accuracy is not None:
                        known.setdefault((dataset, part), accuracy)
    return [Reference(*key, accuracies) for key, accuracies in found.items()]


def _cells(run: Run) -> Iterator[Mapping[str, Any]]:
    """Yield the control of a table and the published cells of its space, where they have names."""
    table = run.result.get("table")
    if not isinstance(table, dict):
        return
    others = table.get("references")
    for cell in (table.get("control"), *(others if isinstance(others, list) else ())):
        if isinstance(cell, dict) and isinstance(cell.get("name"), str):
            yield cell


def _by_dataset(cell: Mapping[str, Any], dataset: str) -> Iterator[tuple[str, Any]]:
    """Yield the figures of each dataset; earlier versions have those of the run's alone."""
    datasets = cell.get("datasets")
    if isinstance(datasets, dict) and datasets:
        yield from ((shown(name)[:80], figures) for name, figures in datasets.items())
    else:
        yield dataset, cell

"""Map a space of fixed edges as a picture: each cell of a table a dot, and what was visited.

A row is what the first half of the edges does, a column what the second half does, both in the
order of the operations below, so that neighbours share most of their edges. The table is the one
that is kept on this machine, and only if it is the file that the runs were made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nasrun.benchmarks import store
from nasrun.benchmarks.table import Columns, Table
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench201 import EDGES, OPERATIONS, nasbench201_text
from nasrun.report.collect import Run
from nasrun.report.curves import read_lines
from nasrun.report.drawing import Picture, Touch, short
from nasrun.report.groups import Group

SPACE = "nasbench201"
ORDER = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
SIDE = len(OPERATIONS) ** (len(EDGES) // 2)
MAX_MAPS, MAX_TOUCHED, MAX_RUNS = 6, 250, 30
PANEL = 2.3  # inches


@dataclass(frozen=True)
class Visits:
    """What a group has seen of the space: table rows, and how early in a run, from 0 to 1."""

    name: str
    first: Mapping[int, float]  # row -> share of the run's labels before it, the earliest
    found: Sequence[int]  # rows of the results


def pictures(groups: Sequence[Group], dataset: str, several: bool) -> Iterator[Picture]:
    """Yield the map of a dataset, with a panel for each of the first groups on a table."""
    on_table = [item for item in groups if any(_on_table(run) for run in item.runs)]
    if not on_table:
        return
    table = _table(on_table[0].runs[0], dataset)
    if table is None:
        return
    visits = [_visits(item, table) for item in on_table[:MAX_MAPS]]
    suffix = f"_{dataset}" if several and dataset.isalnum() else ""
    title = (
        f"Map of the {table.num_rows:,} cells of {SPACE}, {short(dataset)}: brighter cells are "
        "better; what was visited (dark early, orange late), and a ring around each result"
    )
    yield Picture(
        f"map{suffix}", title, *_draw(visits, table, table.columns(dataset)), is_wide=True
    )


def _on_table(run: Run) -> bool:
    return run.space == SPACE and run.number("table", "regret") is not None


def _table(run: Run, dataset: str) -> Table | None:
    """Return the table on this machine, where it is the run's; nothing that a run names is read."""
    data = run.record.get("data")
    wanted = data.get("table_sha256") if isinstance(data, Mapping) else None
    try:
        table = store.load(SPACE, None, dataset)
        same = isinstance(wanted, str) and store.fingerprint(table.path) == wanted
    except (UsageError, OSError):
        return None
    return table if same and dataset in table.datasets else None


def _visits(item: Group, table: Table) -> Visits:
    first: dict[int, float] = {}
    found = []
    for run in item.runs[:MAX_RUNS]:
        lines = read_lines(run, "evaluations.jsonl")
        for place, line in enumerate(lines):
            cell = _row(line.get("genotype"), table)
            if cell is not None:
                share = place / max(1, len(lines) - 1)
                first[cell] = min(share, first.get(cell, 1.0))
        result = _row(run.result.get("genotype"), table)
        found += [] if result is None else [result]
    return Visits(item.name, first, found)


def _row(genotype: Any, table: Table) -> int | None:
    """Return the row of a genotype that a file holds; `None` for anything else."""
    try:
        return table.row(Genotype.from_json(genotype))
    except (UsageError, LookupError, TypeError, ValueError, AttributeError):
        return None


def place_of(genotype: Genotype) -> tuple[int, int]:
    """Return row and column on the map, from 0 to 124 each.

    They are numbers of three digits in base five, the operations of edges 1 to 3 and 4 to 6.
    """
    digits = [ORDER.index(edge.operation) for edge in genotype.cell("cell").edges]
    row, column = (25 * a + 5 * b + c for a, b, c in (digits[:3], digits[3:]))
    return row, column


def _draw(visits: Sequence[Visits], table: Table, columns: Columns) -> tuple[Figure, list[Touch]]:
    places = np.array([place_of(genotype) for genotype in table.genotypes()])
    quality = np.empty((SIDE, SIDE))
    # by rank, since accuracies crowd near the best
    known_R = np.nan_to_num(columns.signal_R, nan=-np.inf)
    quality[places[:, 0], places[:, 1]] = known_R.argsort().argsort() / table.num_rows
    across = min(3, len(visits))
    down = -(-len(visits) // across)
    width, height = across * (PANEL + 0.12) + 0.12, down * (PANEL + 0.36) + 0.12
    figure = Figure(figsize=(width, height), dpi=110)
    touches = []
    for number_of, item in enumerate(visits):
        x = 0.12 + (number_of % across) * (PANEL + 0.12)
        y = height - (number_of // across + 1) * (PANEL + 0.36)
        axes = figure.add_axes((x / width, y / height, PANEL / width, PANEL / height))
        axes.imshow(quality, cmap="gray", vmin=-0.25, vmax=1.25, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        seen_text = f"{len(item.first):,} cells" if item.first else "results alone"
        axes.set_title(f"{short(item.name)[:30]}: {seen_text}", fontsize=8,
                       parse_math=False, pad=3)  # fmt: skip
        seen = np.array(list(item.first), dtype=int)
        if len(seen):
            axes.scatter(places[seen, 1], places[seen, 0], c=list(item.first.values()), s=7,
                         cmap="plasma", vmin=0, vmax=1.2, linewidths=0)  # fmt: skip
        ends = sorted(set(item.found))
        axes.scatter(places[ends, 1], places[ends, 0], s=42, facecolors="none",
                     edgecolors="#D55E00", linewidths=1.4)  # fmt: skip
        axes.set(xlim=(-0.5, SIDE - 0.5), ylim=(SIDE - 0.5, -0.5))
        shown = [*ends, *(row for row in seen.tolist() if row not in ends)]
        for row in shown[:MAX_TOUCHED]:
            what = "result" if row in ends else f"after {item.first[row]:.0%} of a run"
            text = (
                f"{nasbench201_text(table.genotype(row))}\n{columns.signal} "
                f"{columns.signal_R[row]:.2%}\n{what}"
            )
            touches.append(Touch(axes, float(places[row, 1]), float(places[row, 0]), text))
    return figure, touches

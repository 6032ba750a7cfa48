"""Read how the cells of NAS-Bench-201 do on two tasks without pictures: NAS-Bench-360.

Source: R. Tu et al., NAS-Bench-360, NeurIPS 2022 (datasets and benchmarks), arXiv 2110.05668, which
precomputes the topology space on NinaPro DB5 (gestures from muscle signals, 18 classes) and on
Darcy flow (the solution of a differential equation, dense).

Each cell was trained once, and there is no validation column: a search sees what it reports. The
error of Darcy flow is the relative L2 error, lower is better; the file has 1 less the error, which
is below 0 where a network is worse than the answer 0. Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark
from nasrun.benchmarks.checks import Check
from nasrun.benchmarks.nasbench201 import (
    NasBench201Benchmark,
    NasBench201Cells,
    condensed_without_names,
)
from nasrun.benchmarks.table import Arrays, Columns, Quantity, Table
from nasrun.genotypes.nasbench201 import OPERATIONS
from nasrun.protocols.data import TaskShape
from nasrun.protocols.state import Progress

NINAPRO, DARCY = "ninapro_test_200", "darcy_test_200"
HIGHEST = {NINAPRO: 100.0, DARCY: 1.0}  # percent, and 1 less the error
LOWEST = {DARCY: -np.inf}
DARCY_ERROR = Quantity("relative_l2_error", "fraction", worst=1.0, best=0.0)


class NasBench360Table(NasBench201Cells):
    """Test accuracy on NinaPro, 1 less the relative L2 error on Darcy flow; one training each."""

    required = ("ops", NINAPRO, DARCY)
    numbers: ClassVar[Mapping[str, float]] = {}
    offers = ("ninapro", "darcy")
    # The networks for Darcy flow have an answer for each of 85 x 85 points, and are none of ours:
    # sizes counted on that shape rank the cells as theirs would, and are no sizes of theirs.
    shapes: ClassVar[Mapping[str, TaskShape]] = {
        "ninapro": TaskShape(1, (52, 16), 18),
        "darcy": TaskShape(1, (85, 85), 1),
    }

    def problems(self, arrays: Arrays) -> Iterator[str]:
        yield from super().problems(arrays)
        for name, highest in HIGHEST.items():
            yield from self._number_problems(name, arrays[name], highest, LOWEST.get(name, 0.0))

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self.keep_cells(arrays)
        return {
            "ninapro": Columns(None, arrays[NINAPRO] / 100.0, None, trainings="1"),
            "darcy": Columns(None, arrays[DARCY].astype(float), None, DARCY_ERROR, trainings="1"),
        }


class NasBench360Benchmark(Benchmark):
    """The topology space on NinaPro and Darcy flow."""

    table = NasBench360Table
    layout = replace(
        NasBench201Benchmark.layout,
        numbers=HIGHEST,
        lowest=LOWEST,
        needed=tuple(HIGHEST),
        condense=condensed_without_names,
    )

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check that cells without a way from input to output are no better than chance or 0."""
        yield from super().checks(table, arrays, progress)
        digits_RE = np.asarray(arrays["ops"])
        nothing = OPERATIONS.index("none")
        all_none = int(np.flatnonzero((digits_RE == nothing).all(axis=1))[0])
        for dataset, columns in table.datasets.items():
            share = columns.percentile(all_none) / 100.0
            figures = f"the cell without operations is in the lowest {share:.1%}"
            yield Check(dataset, share < 0.5, figures)

"""Read what the cells of NAS-Bench-201 cost on devices: a latency or an energy per cell and device.

Sources: C. Li et al., HW-NAS-Bench, ICLR 2021, arXiv 2103.10584; H. Lee et al., HELP, NeurIPS 2021,
arXiv 2106.08630. No accuracies are in it: `objective=table` takes a column beside the accuracies of
another table. Shapes: R rows.
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
from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.protocols.state import Progress

KINDS = ("latency_ms_", "energy_mj_")  # how columns begin; then the name of the device


class HardwareTable(NasBench201Cells):
    """Latencies in ms and energies in mJ of all cells, on as many devices as there are columns."""

    required = ("ops",)
    numbers: ClassVar[Mapping[str, float]] = {}
    has_accuracies = False
    has_costs = True

    def problems(self, arrays: Arrays) -> Iterator[str]:
        yield from super().problems(arrays)
        columns = [name for name in arrays if name.startswith(KINDS)]
        if not columns:
            yield "it has no cost: no column is named latency_ms_DEVICE or energy_mj_DEVICE"
        for name in columns:
            yield from self._number_problems(name, arrays[name], np.inf)

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self.keep_cells(arrays)
        self.costs = {
            name: arrays[name].astype(np.float64) for name in arrays if name.startswith(KINDS)
        }
        return {}


class HardwareBenchmark(Benchmark):
    """Measured costs of the cells of NAS-Bench-201."""

    table = HardwareTable
    layout = replace(
        NasBench201Benchmark.layout, numbers={}, condense=condensed_without_names, beginnings=KINDS
    )

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check that larger cells take longer: each cost against the operations of the cell."""
        yield from super().checks(table, arrays, progress)
        convolutions_R = (np.asarray(arrays["ops"]) >= 2).sum(axis=1)
        for name, cost_R in table.costs.items():
            correlation = float(np.corrcoef(convolutions_R, cost_R)[0, 1])
            yield Check(name, correlation > 0, f"correlation with the operations {correlation:.2f}")

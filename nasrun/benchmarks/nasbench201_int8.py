"""Read how good the cells of NAS-Bench-201 are after quantisation to int8.

The benchmark's own weights, trained on CIFAR-10 with up to three seeds, were quantised after their
training for a microcontroller; source: N. Herrmann, HW-NAS-Visualization. A value is the mean of
the test accuracies over the seeds that were measured; cells that nobody has measured have none, and
a label of theirs fails. There is no validation column. Shapes: R rows, S = 3 seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark
from nasrun.benchmarks.checks import Check
from nasrun.benchmarks.nasbench201 import SHAPES, NasBench201Cells
from nasrun.benchmarks.table import Arrays, Columns, Table, span
from nasrun.protocols.state import Progress

COLUMNS = {  # dataset -> accuracies_RS in percent, NaN where a seed was not measured
    "cifar10_int8": "cifar10_test_int8_per_seed",
    "cifar10_fp32": "cifar10_test_fp32_per_seed",
}
ERROR = "error_percent_int8"  # of objective=table: 100 less the accuracy after quantisation


class Int8Table(NasBench201Cells):
    """Test accuracy after quantisation to int8 and before it, and the error after it as a cost."""

    required = ("ops", *COLUMNS.values())
    numbers: ClassVar[Mapping[str, float]] = {}
    offers = tuple(COLUMNS)
    shapes = dict.fromkeys(COLUMNS, SHAPES["cifar10"])
    has_costs = True

    def problems(self, arrays: Arrays) -> Iterator[str]:
        yield from super().problems(arrays)
        for name in COLUMNS.values():
            yield from self._accuracy_problems(name, arrays[name])

    def _accuracy_problems(self, name: str, percent_RS: np.ndarray) -> Iterator[str]:
        if percent_RS.ndim != 2 or percent_RS.dtype.kind != "f":
            yield f"{name} must be one accuracy for each cell and seed, not {percent_RS.shape}"
        elif not np.isfinite(percent_RS).any():
            yield f"{name} has no accuracies"
        elif np.nanmin(percent_RS) < 0 or np.nanmax(percent_RS) > 100:
            limits = f"{np.nanmin(percent_RS):g} to {np.nanmax(percent_RS):g}"
            yield f"{name} must be in [0, 100], or NaN for what was not measured, not {limits}"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self.keep_cells(arrays)
        found = {name: _mean(arrays[column]) for name, column in COLUMNS.items()}
        # a limit holds for what nobody has measured only if it is 100
        self.costs = {ERROR: 100.0 * (1.0 - np.nan_to_num(found["cifar10_int8"].test_R))}
        return found


def _mean(percent_RS: np.ndarray) -> Columns:
    """Return the means over the seeds that were measured, as fractions."""
    known_RS = np.isfinite(percent_RS)
    count_R = known_RS.sum(axis=1)
    sum_R = np.where(known_RS, percent_RS, 0.0).sum(axis=1, dtype=np.float64)
    mean_R = np.divide(sum_R, count_R, out=np.full(len(sum_R), np.nan), where=count_R > 0)
    return Columns(None, mean_R / 100.0, None, trainings=span(count_R[count_R > 0]))


class Int8Benchmark(Benchmark):
    """Accuracies of quantised cells of NAS-Bench-201."""

    table = Int8Table

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check that quantisation loses accuracy, and say how many cells were measured."""
        yield from super().checks(table, arrays, progress)
        after_R, before_R = (table.datasets[name].test_R for name in COLUMNS)
        loss_R = (before_R - after_R)[np.isfinite(before_R) & np.isfinite(after_R)]
        figures = (
            f"{len(loss_R):,} cells measured, mean loss {100 * loss_R.mean():.2f} points, "
            f"{int((loss_R > 0.05).sum()):,} lose more than 5"
        )
        yield Check("quantisation", bool(loss_R.mean() > 0), figures)

"""Read what is known of the cells of NAS-Bench-201 without training: scores at initialisation.

Sources: H. Tanaka et al., Pruning neural networks without any data by iteratively conserving
synaptic flow, NeurIPS 2020 (synflow); J. Mellor et al., Neural Architecture Search without
Training, ICML 2021 (naswot); N. Cavagnero et al., FreeREA, WACV 2023 (its logarithm inside, and the
file). No accuracies are in it. Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark
from nasrun.benchmarks.checks import Check
from nasrun.benchmarks.nasbench201 import SECONDS, NasBench201Cells
from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.protocols.state import Progress

SCORES = ("logsynflow", "naswot")  # of which a column per dataset is read: cifar10_naswot


class ZeroCostTable(NasBench201Cells):
    """Scores of untrained networks of all cells; the higher, the more promising."""

    required = ("ops", *(f"cifar10_{score}" for score in SCORES))
    numbers: ClassVar[Mapping[str, float]] = {}
    has_accuracies = False
    has_scores = True

    def problems(self, arrays: Arrays) -> Iterator[str]:
        yield from super().problems(arrays)
        for dataset in SECONDS:
            found = [name for score in SCORES if (name := f"{dataset}_{score}") in arrays]
            if 0 < len(found) < len(SCORES):
                yield f"it has {', '.join(found)}, and not all scores of {dataset}"
            for name in found:
                if arrays[name].shape != (self.num_rows,) or arrays[name].dtype.kind not in "fiu":
                    yield f"{name} must be {self.num_rows} numbers"
                elif np.isnan(arrays[name]).any():
                    yield f"{name} has values that are no numbers"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self.keep_cells(arrays)
        self.scores = {
            dataset: {score: arrays[f"{dataset}_{score}"].astype(np.float64) for score in SCORES}
            for dataset in SECONDS
            if f"{dataset}_{SCORES[0]}" in arrays
        }
        return {}


class ZeroCostBenchmark(Benchmark):
    """Scores without training of the cells of NAS-Bench-201."""

    table = ZeroCostTable

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check that cells with more convolutions score higher."""
        yield from super().checks(table, arrays, progress)
        convolutions_R = (np.asarray(arrays["ops"]) >= 2).sum(axis=1)
        for dataset, scores in table.scores.items():
            for name, score_R in scores.items():
                finite_R = np.isfinite(score_R)
                pair = convolutions_R[finite_R], score_R[finite_R]
                correlation = float(np.corrcoef(*pair)[0, 1])
                figures = f"correlation with the operations {correlation:.2f}"
                yield Check(f"{dataset}_{name}", correlation > 0, figures)

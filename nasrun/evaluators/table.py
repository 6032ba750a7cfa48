"""True evaluation without training: what a benchmark table says of an architecture.

A search sees the validation accuracy (where the table has one); the test accuracy is looked at
once, when the search is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasrun import tables
from nasrun.benchmark_table import Columns
from nasrun.genotype import Genotype
from nasrun.protocols import Evaluation, SearchContext, SearchSpace


class TableEvaluator:
    """An `Evaluator` whose costs are the seconds that the table's makers trained; 0 if unknown.

    Args:
        file: the table; `None` looks in `NASRUN_DATA`, then in the user's cache folder.

    Raises:
        UsageError: there is no table of this space and dataset, or it is not sound.
    """

    objectives = ("val_error",)
    needs_images: ClassVar[bool] = False

    def __init__(self, context: SearchContext, *, file: str | None) -> None:
        self.space: SearchSpace = context.space
        self.table = tables.load(self.space.name, file)
        self.columns = self.table.columns(context.dataset_name)

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Raises `UsageError` for an architecture outside the space."""
        return [self._evaluate(genotype) for genotype in genotypes]

    def _evaluate(self, genotype: Genotype) -> Evaluation:
        row = self._row(genotype)
        seconds_R = self.columns.seconds_R
        cost_s = 0.0 if seconds_R is None else float(seconds_R[row])
        return Evaluation(genotype, (1.0 - float(self.columns.signal_R[row]),), cost_s)

    def final(self, genotype: Genotype) -> dict[str, Any]:
        """The `table` part of the result: the only look at the test column.

        `regret` is that of the signal, in [0, 1]; `percentile`, in [0, 100], that of the test
        accuracy among all architectures; `datasets` has the figures on all that the table has.
        """
        row = self._row(genotype)
        datasets = {name: accuracies(one, row) for name, one in self.table.datasets.items()}
        return {
            "table": {
                "file": str(self.table.path),
                "signal": self.columns.signal,
                **accuracies(self.columns, row),
                "regret": self.columns.regret(row),
                "percentile": self.columns.percentile(row),
                "datasets": datasets,
            }
        }

    def _row(self, genotype: Genotype) -> int:
        self.space.validate(genotype)
        return self.table.row(genotype)


def accuracies(columns: Columns, row: int) -> dict[str, float | None]:
    validation_R = columns.validation_R
    return {
        "val_accuracy": None if validation_R is None else float(validation_R[row]),
        "test_accuracy": float(columns.test_R[row]),
    }

"""Label by successive halving what a table knows after a short and after a full training.

Shapes: N candidates, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nasrun.benchmarks.table import Columns, Table
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, Objective
from nasrun.protocols.halving import survivors
from nasrun.protocols.labels import failed, validation_error


def require_shorter(table: Table, columns: Columns, dataset: str, eta: int) -> None:
    """Raise a `UsageError` where a table has no short trainings."""
    if not columns.shorter or columns.epochs is None:
        raise UsageError(
            f"evaluator.halving={eta} needs accuracies after fewer epochs, and {table.path} has "
            f"none of {dataset}: leave it out, or take a table that has columns like cifar10_val_12"
        )


class Competition:
    """Candidates that compete by their accuracies after few epochs for a training in full.

    Args:
        eta: the best 1/eta go on from each rung to the next.
    """

    def __init__(self, columns: Columns, eta: int, objectives: Sequence[Objective]) -> None:
        assert columns.epochs is not None
        self.full, self.eta, self.objectives = columns.epochs, eta, tuple(objectives)
        self.seconds_R = columns.seconds_R
        self.rungs = [*sorted(columns.shorter.items()), (columns.epochs, columns.signal_R)]

    def labels(self, genotypes: Sequence[Genotype], rows: Sequence[int]) -> list[Evaluation]:
        """Return the labels in the order of the genotypes.

        Each says under `epochs` how long it was trained in all, under `fully_trained` whether in
        full, and under `short_val_accuracy` what the first rung has said. One candidate alone is
        trained in full at once.
        """
        labels = [Evaluation(one, (np.inf,), 0.0, {"epochs": 0.0}) for one in genotypes]
        places = list(range(len(genotypes)))
        for epochs, signal_R in self.rungs if len(genotypes) > 1 else self.rungs[-1:]:
            for place in places:
                row = rows[place]
                labels[place] = self._trained(labels[place], epochs, float(signal_R[row]), row)
            best = survivors([validation_error(labels[place]) for place in places], self.eta)
            places = [places[one] for one in best]
        return labels

    def _trained(self, before: Evaluation, epochs: int, signal: float, row: int) -> Evaluation:
        seconds = 0.0 if self.seconds_R is None else float(self.seconds_R[row])
        cost_s = before.cost_s + seconds * epochs / self.full
        if np.isnan(signal):
            error = f"the table has no value of this architecture after {epochs} epochs"
            return failed(before.genotype, error, cost_s, self.objectives)
        details = {
            **before.details,
            "epochs": before.details["epochs"] + epochs,
            "fully_trained": float(epochs == self.full),
        }
        if epochs < self.full:
            details.setdefault("short_val_accuracy", signal)
        return replace(before, values=(1.0 - signal,), cost_s=cost_s, details=details)

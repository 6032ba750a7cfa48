"""Evaluate without training: look up what a benchmark table says of an architecture.

A search sees the validation accuracy (where the table has one); the test accuracy is looked at
once, when the search is over. For strategies on alphas the table becomes a landscape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from nasrun.benchmarks import store
from nasrun.benchmarks.table import ACCURACY, Columns, Quantity, Table
from nasrun.errors import RunError
from nasrun.evaluators.landscape import Landscape
from nasrun.evaluators.table_halving import Competition, require_shorter
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.published import named_cells
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import VALIDATION_ERROR, Evaluation, Evaluator, Objective
from nasrun.protocols.result import (
    Accuracies,
    Control,
    Final,
    OneShot,
    TableEntry,
    TableValues,
)
from nasrun.protocols.settings import Fraction, NotNegative, Place, Positive, Probability
from nasrun.protocols.space import ArchGraph, SearchSpace

UNMEASURED = "the table has no value of this architecture, which nobody has measured"

Isomorphic = Literal["own", "averaged", "averaged_in_the_end"]
"""Whose values count: the cell's own, the mean of all cells that compute the same, or the cell's
own in the search and the mean where its result is judged."""


class TableLookup(Evaluator):
    """A benchmark table of the run's space, with the columns of the run's dataset.

    Args:
        file: the table, or the name of a benchmark; `None` looks for one that has the dataset, in
            `NASRUN_DATA`, then in the user's cache folder. A space that was read from a table has
            its own.
        isomorphic: whose values count where several cells of a table compute the same.
        halving: eta of successive halving (`protocols.halving`): of candidates that are asked for
            together all get the accuracy of a short training, and the best 1/eta that of a full
            one. The two are trainings of their own, so that their epochs add up.

    Raises:
        UsageError: there is no table of this space and dataset, or it is not sound, or it has no
            short trainings for `halving`.
    """

    reads_table: ClassVar[bool] = True

    def __init__(
        self,
        context: SearchContext,
        file: Place | None,
        isomorphic: Isomorphic = "own",
        halving: int | None = None,
    ) -> None:
        self.space: SearchSpace = context.space
        file = file or self.space.table_file
        self.table = store.load(self.space.name, file, context.dataset_name)
        self.isomorphic = isomorphic
        own = self.table.columns(context.dataset_name)
        self.columns = self._averaged(own) if isomorphic == "averaged" else own
        self.judged = own if isomorphic == "own" else self._averaged(own)
        self.objectives = (error_of(own.quantity),)
        self.shape = self.table.shapes.get(context.dataset_name)
        self.makers_size = self.table.size
        self.optimum = self.columns.optimum  # for reports; a search may not see it
        self.halving = halving
        if halving is not None:
            require_shorter(self.table, self.columns, context.dataset_name, halving)
            self.at_once, self.bracket = 1, halving ** len(self.columns.shorter)

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Look up the label of each architecture.

        Its cost is how long the table's makers trained, in seconds; 0 if that is unknown.

        Raises:
            UsageError: an architecture lies outside the space.
            RunError: its value is one of those that the table does not have.
        """
        if self.halving is not None:
            competition = Competition(self.columns, self.halving, self.objectives)
            return competition.labels(genotypes, [self.row(genotype) for genotype in genotypes])
        return [self._evaluate(genotype) for genotype in genotypes]

    def _evaluate(self, genotype: Genotype) -> Evaluation:
        row = self.row(genotype)
        seconds_R, signal = self.columns.seconds_R, float(self.columns.signal_R[row])
        cost_s = 0.0 if seconds_R is None else float(seconds_R[row])
        if np.isnan(signal):
            raise RunError(UNMEASURED)
        return Evaluation(genotype, (1.0 - signal,), cost_s)

    def _averaged(self, columns: Columns) -> Columns:
        if not self.table.has_copies:
            return columns
        return columns.averaged(self.table.classes(self.space.canonical))

    def row(self, genotype: Genotype) -> int:
        """Find the row of an architecture.

        Raises:
            UsageError: the architecture lies outside the space.
        """
        self.space.validate(genotype)
        return self.table.row(genotype)

    def final(self, genotype: Genotype) -> Final:
        """Look up the cell of the result: the only look at the test column."""
        row, columns = self.row(genotype), self.judged
        if np.isnan(columns.test_R[row]):
            raise RunError(f"{UNMEASURED}: the result has no figures")
        entry = TableEntry(
            file=str(self.table.path),
            signal=self.columns.signal,
            **accuracies(columns, row),
            regret=columns.regret(row),
            percentile=columns.percentile(row),
            datasets=self._on_all_datasets(row),
            control=self._control(),
            values=self._values(row),
            references=tuple(
                self._reference(name, cell) for name, cell in named_cells(self.space.name).items()
            ),
        )
        return Final(table=entry)

    def _values(self, row: int) -> TableValues:
        columns, quantity = self.judged, self.judged.quantity
        validation_R = columns.validation_R
        return TableValues(
            quantity=quantity.name,
            unit=quantity.unit,
            direction=quantity.direction,
            worst=quantity.worst,
            best=quantity.best,
            validation=None if validation_R is None else quantity.value(float(validation_R[row])),
            test=quantity.value(float(columns.test_R[row])),
            judged_by="test" if columns.has_test else "validation",
            trainings=columns.trainings,
            isomorphic=self.isomorphic,
        )

    def best_within(self, holds: Callable[[Genotype], bool]) -> float | None:
        """Ask about the rows from the best on, until one holds.

        It is not known where a result is judged by other values than its label.
        """
        if self.isomorphic == "averaged_in_the_end":
            return None
        for row in np.argsort(-self.columns.signal_R, kind="stable").tolist():
            if holds(self.table.genotype(row)):
                return float(self.columns.signal_R[row])
        return None

    def held_out(
        self, labels: Sequence[Evaluation], limit: int
    ) -> tuple[list[Genotype], list[ArchGraph], np.ndarray]:
        """Draw architectures without a label, and their accuracy_N; no search may see them.

        There are up to `limit`, none of them isomorphic to a labelled one, and but for that the
        same ones in every run.
        """
        sample = _sample(self.table, self.space, limit)
        known = {sample.key(label.genotype) for label in labels}
        signal_R = self.columns.signal_R
        measured_N = np.isfinite(signal_R[sample.rows[:limit]]).tolist()
        keys = sample.keys[:limit]
        kept = [i for i, key in enumerate(keys) if key not in known and measured_N[i]]
        accuracy_N = signal_R[[sample.rows[i] for i in kept]]
        genotypes, graphs = sample.genotypes, sample.graphs
        return [genotypes[i] for i in kept], [graphs[i] for i in kept], accuracy_N

    def fingerprint(self) -> str:
        """Return the SHA-256 of the table's file."""
        return store.fingerprint(self.table.path)

    def _control(self) -> Control | None:
        """Return the figures of a cell that needs no search, if the table knows one."""
        control = self.table.control()
        return None if control is None else self._reference(*control)

    def _reference(self, name: str, genotype: Genotype) -> Control:
        row = self.row(genotype)
        return Control(
            name=name,
            **accuracies(self.judged, row),
            percentile=self.judged.percentile(row),
            datasets=self._on_all_datasets(row),
        )

    def _on_all_datasets(self, row: int) -> dict[str, Accuracies]:
        tables = self.table.datasets.items()
        if self.isomorphic != "own":
            tables = {name: self._averaged(one) for name, one in tables}.items()
        return {name: Accuracies(**accuracies(one, row)) for name, one in tables}


class TableEvaluator(TableLookup):
    """A table as the evaluator, both of single architectures and of mixtures.

    Args:
        file, isomorphic, halving: see `TableLookup`.
        rank_noise, accuracy_floor, accuracy_spread, loss_noise, accuracy_noise,
            independent_share: see `Landscape`.
    """

    needs_images: ClassVar[bool] = False
    makes_scorers: ClassVar[bool] = True

    def __init__(
        self,
        context: SearchContext,
        *,
        file: Place | None,
        isomorphic: Isomorphic,
        halving: Annotated[int, Ge(2)] | None,
        rank_noise: NotNegative,
        accuracy_floor: Fraction,
        accuracy_spread: Positive,
        loss_noise: NotNegative,
        accuracy_noise: NotNegative,
        independent_share: Probability,
    ) -> None:
        super().__init__(context, file, isomorphic, halving)
        self._landscape: Landscape | None = None
        self._make_landscape = partial(
            Landscape,
            context.space,
            self.table,
            self.columns,
            context.streams,
            rank_noise=rank_noise,
            accuracy_floor=accuracy_floor,
            accuracy_spread=accuracy_spread,
            loss_noise=loss_noise,
            accuracy_noise=accuracy_noise,
            independent_share=independent_share,
        )

    def scorer(self, **_: Any) -> Landscape:
        """Make the landscape; settings of a supernet and of its training mean nothing to it."""
        self._landscape = self._make_landscape()
        return self._landscape

    def final(self, genotype: Genotype) -> Final:
        """Say too, after a search on the landscape, how well that ranks all cells."""
        found = super().final(genotype)
        if self._landscape is None or found.table is None:
            return found
        tau = self._landscape.tau(self.judged.test_R)
        table = replace(found.table, landscape=True)
        return Final(table=table, one_shot=OneShot(accuracy_tau=tau))


class Sample:
    """Rows of a table in an order drawn once, what they are, and a key that isomorphic ones share.

    What they are is found out as far as it is asked for, which takes half a second for all of
    nasbench201.
    """

    def __init__(self, table: Table, space: SearchSpace) -> None:
        self._table, self._space = table, space
        self.key: Callable[[Genotype], object]
        self.key = space.canonical if table.has_copies else table.row
        self.rows = np.random.default_rng(0).permutation(table.num_rows)
        self.genotypes: list[Genotype] = []
        self.graphs: list[ArchGraph] = []
        self.keys: list[object] = []

    def reach(self, size: int) -> None:
        """Find out what the first `size` rows are."""
        rows = self.rows[len(self.genotypes) : size].tolist()
        genotypes = [self._table.genotype(row) for row in rows]
        self.genotypes += genotypes
        self.graphs += [self._space.graph(genotype) for genotype in genotypes]
        self.keys += [self.key(one) for one in genotypes] if self._table.has_copies else rows


_samples: dict[Table, Sample] = {}


def _sample(table: Table, space: SearchSpace, size: int) -> Sample:
    """Return the sample of a table, which depends on the space alone, for its first `size` rows.

    The runs of a sweep share it, as they share the table.
    """
    if table not in _samples:
        _samples[table] = Sample(table, space)
    _samples[table].reach(size)
    return _samples[table]


def error_of(quantity: Quantity) -> Objective:
    """Return what a search minimises: 1 less the score of a quantity.

    >>> error_of(Quantity("relative_l2_error", "fraction", worst=1.0, best=0.0))
    Objective(name='relative_l2_error', unit='fraction', direction='minimise')
    """
    if quantity == ACCURACY:
        return VALIDATION_ERROR
    if (quantity.worst, quantity.best) == (0.0, 1.0):
        return Objective(f"{quantity.name}_error", f"1 - {quantity.name}")
    if (quantity.worst, quantity.best) == (1.0, 0.0):
        return Objective(quantity.name, quantity.unit)
    return Objective(f"{quantity.name}_from_best", "share of the way from the best to the worst")


def accuracies(columns: Columns, row: int) -> dict[str, Any]:
    """Look up validation (`None` without that column) and test accuracy of a row."""
    validation_R = columns.validation_R
    return {
        "val_accuracy": None if validation_R is None else float(validation_R[row]),
        "test_accuracy": float(columns.test_R[row]),
    }

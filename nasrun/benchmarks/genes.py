"""Read a table of genes: whatever somebody measured for each combination of some choices.

Its file says what the genes are, and of each column of values the unit, the direction, whether it
was measured on validation or on test data, and how many trainings are behind a value. Values in
percent and fractions stay what they are; values of any other unit are searched on the scale from
the worst (0) to the best (1) of the table. Shapes: R rows, D genes, V columns of values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from nasrun.benchmarks import gene_columns
from nasrun.benchmarks.benchmark import Benchmark, ColumnOptions
from nasrun.benchmarks.gene_columns import ValueColumn
from nasrun.benchmarks.table import Arrays, Columns, Quantity, Table
from nasrun.errors import UsageError
from nasrun.genotypes.genes import ARRAYS, coding_of
from nasrun.genotypes.genotype import Genotype

MAX_ROWS = 1_000_000
SHARES = {"percent": 100.0, "fraction": 1.0}  # unit -> what is 1 as a fraction


class GenesTable(Table):
    """Values of all combinations of genes. A row is found by its genes, in any order of rows."""

    space = "genes"
    num_rows = 0  # of each table its own
    has_copies = False
    required = ("gene_codes", *ARRAYS, *gene_columns.VALUES)
    numbers: ClassVar[Mapping[str, float]] = {}
    has_costs = True

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self.num_rows = len(arrays["gene_codes"]) if arrays["gene_codes"].ndim else 0
        super().__init__(path, arrays)

    def problems(self, arrays: Arrays) -> Iterator[str]:
        try:
            self.coding = coding_of(arrays)
            self.described = gene_columns.described(arrays)
        except UsageError as error:
            yield str(error)
            return
        found = list(self._code_problems(arrays["gene_codes"]))
        values_RV, shape = arrays["values"], (self.num_rows, len(self.described))
        if values_RV.shape != shape or values_RV.dtype.kind not in "fiu":
            found.append(f"values must be numbers of the shape {shape}, not {values_RV.shape}")
        elif not np.isfinite(values_RV).all():
            found.append("values has numbers that are not finite")
        else:
            found += _value_problems(self.described, values_RV)
        yield from found

    def _code_problems(self, codes_RD: np.ndarray) -> Iterator[str]:
        sizes = self.coding.cardinalities
        if codes_RD.shape[1:] != (len(sizes),) or codes_RD.dtype.kind not in "iu":
            yield f"gene_codes must be whole numbers, one for each of {len(sizes)} genes in a row"
            return
        highest_D, lowest_D = codes_RD.max(axis=0), codes_RD.min(axis=0)
        for gene, low, high in zip(self.coding.genes, lowest_D, highest_D, strict=True):
            if low < 0 or high >= len(gene.values):
                yield (
                    f"the gene {gene.name} is {low} to {high}, and must be 0 to "
                    f"{len(gene.values) - 1}"
                )
                return
        num_cells = math.prod(sizes)
        told = f"{' x '.join(map(str, sizes))} = {num_cells:,} combinations of genes"
        if num_cells > MAX_ROWS:
            yield f"it has {told}; {MAX_ROWS:,} are possible (is a column of values no gene?)"
            return
        self._sizes = sizes
        keys_R = np.ravel_multi_index(tuple(codes_RD.T.astype(np.int64)), sizes)
        rows = np.bincount(keys_R, minlength=num_cells)
        twice, missing = np.flatnonzero(rows > 1), np.flatnonzero(rows == 0)
        if len(twice):
            pair = (np.flatnonzero(keys_R == twice[0])[:2] + 1).tolist()
            yield (
                f"rows {pair[0]} and {pair[1]} both have {self._text_of(twice[0])}: a combination "
                "of genes has one row"
            )
        elif len(missing):
            yield (
                f"{len(missing):,} of {told} have no row, such as {self._text_of(missing[0])} (is "
                "a column of values among the genes?)"
            )
        self._codes_RD = codes_RD
        self._row_of = np.empty(num_cells, dtype=np.int64)
        self._row_of[keys_R] = np.arange(self.num_rows)

    def _text_of(self, key: int) -> str:
        codes = np.unravel_index(int(key), self._sizes)
        return self.coding.text([int(code) for code in codes])

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        values_RV = arrays["values"].astype(np.float64)
        both: dict[str, dict[str, int]] = {}
        for place, one in enumerate(self.described):
            both.setdefault(one.of, {})[one.part] = place
        self.costs = {
            one.column: values_RV[:, place]
            for place, one in enumerate(self.described)
            if one.better == "lower"
        }
        self.units = {one.column: one.unit for one in self.described}
        return {
            dataset: self._columns([self.described[place] for place in parts.values()],
                                   {part: values_RV[:, place] for part, place in parts.items()})
            for dataset, parts in both.items()
        }  # fmt: skip

    def _columns(
        self, described: Sequence[ValueColumn], values: Mapping[str, np.ndarray]
    ) -> Columns:
        one = described[0]
        share = SHARES.get(one.unit, 1.0)
        values_R = {part: part_R / share for part, part_R in values.items()}
        quantity = quantity_of(one, np.concatenate(list(values_R.values())))
        scores = {part: quantity.scores(part_R) for part, part_R in values_R.items()}
        trainings = trainings_of(described)
        validation_R = scores.get("validation")
        test_R = scores.get("test", validation_R)
        assert test_R is not None
        return Columns(validation_R, test_R, None, quantity, trainings, "test" in scores)

    def row(self, genotype: Genotype) -> int:
        codes = self.coding.codes(genotype)
        return int(self._row_of[np.ravel_multi_index(codes, self._sizes)])

    def genotype(self, row: int) -> Genotype:
        return self.coding.genotype(self._codes_RD[row].tolist())

    def text(self, row: int) -> str:
        return self.coding.text(self._codes_RD[row].tolist())


def trainings_of(described: Sequence[ValueColumn]) -> str | None:
    """Return how many trainings are behind each value, of each column where they differ."""
    counts = {one.trainings for one in described}
    if 0 in counts:
        return None
    if len(counts) == 1:
        return str(counts.pop())
    return ", ".join(f"{one.trainings} ({one.part})" for one in described)


def quantity_of(column: ValueColumn, values_R: np.ndarray) -> Quantity:
    """Return what the values of a column are; percent are fractions by now."""
    is_share, lower = column.unit in SHARES, column.better == "lower"
    unit = "fraction" if is_share else column.unit
    worst, best = (1.0, 0.0) if lower else (0.0, 1.0)
    if not is_share:
        ends = float(values_R.min()), float(values_R.max())
        worst, best = ends[::-1] if lower else ends
        if worst == best:  # nothing to choose from: all have the score 1
            worst = best + (1.0 if lower else -1.0)
    return Quantity(column.quantity, unit, worst, best)


def _value_problems(described: Sequence[ValueColumn], values_RV: np.ndarray) -> Iterator[str]:
    """Yield what is wrong with the columns of values and with what is said of them."""
    known: dict[tuple[str, str], str] = {}
    for place, one in enumerate(described):
        low, high = float(values_RV[:, place].min()), float(values_RV[:, place].max())
        most = SHARES.get(one.unit, math.inf) if one.better == "higher" else math.inf
        if one.unit in SHARES and (low < 0 or high > most):
            limits = "0 or more" if math.isinf(most) else f"in [0, {most:g}]"
            yield f"{one.column} in {one.unit} must be {limits}, not {low:g} to {high:g}"
        other = known.setdefault((one.of, one.part), one.column)
        if other != one.column:
            yield f"{other} and {one.column} are both the {one.part} column of {one.of}"
    for dataset in dict.fromkeys(one.of for one in described):
        parts = [one for one in described if one.of == dataset]
        if len({(one.unit, one.better, one.quantity) for one in parts}) > 1:
            yield f"the columns of {dataset} must have one unit, direction and quantity"


class GenesBenchmark(Benchmark):
    """A table of a person's own."""

    table = GenesTable
    describes_columns = True

    def read_described(self, path: Path, options: ColumnOptions) -> Arrays:
        return gene_columns.read(path, options)

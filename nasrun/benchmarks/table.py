"""Define a benchmark table: how well each architecture of a space does, measured once for all.

It is an .npz file in the condensed form: arrays of one row per architecture, and an entry `README`
that says what they are. Shapes: R rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from nasrun.errors import UsageError, closest, raise_together
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize

Arrays = Mapping[str, np.ndarray]

VALIDATION = "validation accuracy"
TEST = "mean test accuracy (the table has no validation column)"


@dataclass(frozen=True)
class Columns:
    """What a table says of one dataset. Accuracies are fractions, float64."""

    validation_R: np.ndarray | None
    test_R: np.ndarray  # for the end of a search only, where there is a validation column
    seconds_R: np.ndarray | None  # how long the training behind the accuracies took

    @property
    def signal(self) -> str:
        """Return the name of what a search sees."""
        return TEST if self.validation_R is None else VALIDATION

    @property
    def signal_R(self) -> np.ndarray:
        """Return what a search sees: higher is better."""
        return self.test_R if self.validation_R is None else self.validation_R

    def regret(self, row: int) -> float:
        """Return how far the row's signal is below the best of the space; 0 is the optimum."""
        return float(self.signal_R.max() - self.signal_R[row])

    def percentile(self, row: int) -> float:
        """Return the percent of architectures whose test accuracy is at most that of the row."""
        return 100.0 * float((self.test_R <= self.test_R[row]).mean())


class Table(ABC):
    """A loaded benchmark table. A subclass knows one space.

    Raises:
        UsageError: arrays that do not fit together or hold impossible values.
    """

    space: ClassVar[str]
    num_rows: ClassVar[int]
    has_copies: ClassVar[bool]  # whether isomorphic cells have a row each
    required: ClassVar[tuple[str, ...]]  # arrays that it must have; the first has a row per cell
    numbers: ClassVar[
        Mapping[str, float]
    ]  # columns of one number per row: the highest there can be
    shapes: ClassVar[Mapping[str, TaskShape]] = {}  # dataset -> its images and classes
    size: ClassVar[NetworkSize] = NetworkSize()  # of the networks that its makers have trained
    has_accuracies: ClassVar[bool] = True  # whether a search can be done on it
    has_costs: ClassVar[bool] = False  # whether it says what networks cost on devices
    has_scores: ClassVar[bool] = False  # whether it has scores of untrained networks
    costs: Mapping[str, np.ndarray] = MappingProxyType({})
    """Column -> cost_R, float64: what each architecture costs, such as latency_ms_raspi4."""
    scores: Mapping[str, Mapping[str, np.ndarray]] = MappingProxyType({})
    """Dataset -> name -> score_R, float64: what an untrained network says; higher is better."""

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self.path = path
        self._genes_RD: np.ndarray | None = None
        raise_together(f"{path}: {problem}" for problem in self._all_problems(arrays))
        self.datasets = self.read_columns(arrays)

    def columns(self, dataset: str) -> Columns:
        """Return what the table says of a dataset.

        Raises:
            UsageError: the table does not have the dataset.
        """
        if dataset not in self.datasets:
            raise UsageError(
                f"dataset={dataset} has no column in the table {self.path}; "
                f"{closest(dataset, self.datasets)}"
            )
        return self.datasets[dataset]

    def genotypes(self) -> Iterator[Genotype]:
        """Yield all architectures in the order of the rows."""
        return map(self.genotype, range(self.num_rows))

    def genes(self, encode: Callable[[Genotype], Sequence[int]]) -> np.ndarray:
        """Return genes_RD of all rows, by the `encode` of the space.

        They are kept for the other runs of a sweep, since they take a quarter of a second.
        """
        if self._genes_RD is None:
            self._genes_RD = np.array([encode(genotype) for genotype in self.genotypes()])
        return self._genes_RD

    def control(self) -> tuple[str, Genotype] | None:
        """Return a cell that nobody needs to search for and its name, if the table knows one."""
        return None

    @abstractmethod
    def problems(self, arrays: Arrays) -> Iterator[str]:
        """Yield one sentence for everything that is wrong with the cells.

        The columns of `numbers` are checked besides.
        """

    @abstractmethod
    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        """Return dataset -> columns; also keep what `row` and `genotype` need."""

    @abstractmethod
    def row(self, genotype: Genotype) -> int:
        """Return the row of an architecture; raise `UsageError` where it is not of the space."""

    @abstractmethod
    def genotype(self, row: int) -> Genotype:
        """Return the architecture of a row."""

    @abstractmethod
    def text(self, row: int) -> str:
        """Return the architecture of a row in one line, as it is written in a CSV file."""

    def _all_problems(self, arrays: Arrays) -> Iterator[str]:
        count = arrays[self.required[0]].shape[:1]
        if count != (self.num_rows,):
            yield f"it has {count[0] if count else 0} rows, not {self.num_rows}, one per cell"
            return
        yield from self.problems(arrays)
        for name, highest in self.numbers.items():
            if name in arrays:
                yield from self._number_problems(name, arrays[name], highest)

    def _number_problems(self, name: str, values_R: np.ndarray, highest: float) -> Iterator[str]:
        if values_R.shape != (self.num_rows,) or values_R.dtype.kind not in "fiu":
            yield (
                f"{name} must be {self.num_rows} numbers, not {values_R.dtype} of the shape "
                f"{values_R.shape}"
            )
        elif not np.isfinite(values_R).all():
            yield f"{name} has {int((~np.isfinite(values_R)).sum())} values that are not finite"
        elif values_R.min() < 0 or values_R.max() > highest:
            yield (
                f"{name} must be in [0, {highest:g}], not {values_R.min():g} to {values_R.max():g}"
            )

    def _absent(self, genotype: Genotype) -> UsageError:
        return UsageError(
            f"the table {self.path} of space={self.space} has no row for the genotype "
            f"{genotype.short_id} of space '{genotype.space}'"
        )

"""Define a benchmark table: how well each architecture of a space does, measured once for all.

It is an .npz file in the condensed form: arrays of one row per architecture, and an entry `README`
that says what they are. Shapes: R rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from nasrun.errors import UsageError, closest, raise_together
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize

Arrays = Mapping[str, np.ndarray]

NO_VALIDATION = "(the table has no validation column)"


@dataclass(frozen=True)
class Quantity:
    """What the values of a table are: their name, unit and direction, and their scale.

    A search sees scores: higher is better, and 1 less the score is what it minimises. The score is
    0 at `worst` and 1 at `best`, in the unit of the values. An accuracy is its own score; of an
    error in [0, 1] it is 1 less the error. Values of any other unit have none of their own: `worst`
    and `best` are then those of the table.
    """

    name: str = "accuracy"
    unit: str = "fraction"
    worst: float = 0.0
    best: float = 1.0

    @property
    def direction(self) -> Literal["minimise", "maximise"]:
        return "maximise" if self.best > self.worst else "minimise"

    @property
    def score_name(self) -> str:
        """Return what the scores are, as a person reads it."""
        name = self.name.replace("_", " ")
        if (self.worst, self.best) == (0.0, 1.0):
            return name
        if (self.worst, self.best) == (1.0, 0.0):
            return f"1 - {name}"
        return f"scaled {name}"

    def scores(self, values_R: np.ndarray) -> np.ndarray:
        """Return score_R of values in the unit, float64."""
        if self == ACCURACY:
            return values_R
        return (values_R - self.worst) / (self.best - self.worst)

    def value(self, score: float) -> float:
        """Return the value, in the unit, that has a score."""
        return score if self == ACCURACY else self.worst + score * (self.best - self.worst)


ACCURACY = Quantity()


@dataclass(frozen=True)
class Columns:
    """What a table says of one dataset. Accuracies are fractions, float64; NaN is not known.

    Of another quantity the columns hold its scores.
    """

    validation_R: np.ndarray | None
    test_R: np.ndarray  # for the end of a search only, where there is a validation column
    seconds_R: np.ndarray | None  # how long the training behind the accuracies took
    quantity: Quantity = ACCURACY
    trainings: str | None = None  # behind each value, such as "2 to 3"; `None`: nobody says
    has_test: bool = True  # where there is none, `test_R` is the validation column once more
    epochs: int | None = None  # of the training behind each value
    shorter: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Epochs of a shorter training, one of its own -> what a search sees of it."""

    @property
    def signal(self) -> str:
        """Return the name of what a search sees."""
        one = " of one training" if self.trainings == "1" else ""
        if self.quantity != ACCURACY:
            part = "test" if self.validation_R is None else "validation"
            without = f" {NO_VALIDATION}" if self.validation_R is None else ""
            return f"{self.quantity.score_name} on {part} data{one}{without}"
        if self.validation_R is not None:
            return "validation accuracy"
        return (
            f"test accuracy{one} {NO_VALIDATION}" if one else f"mean test accuracy {NO_VALIDATION}"
        )

    @property
    def signal_R(self) -> np.ndarray:
        """Return what a search sees: higher is better."""
        return self.test_R if self.validation_R is None else self.validation_R

    @property
    def optimum(self) -> float:
        """Return the best signal of the space."""
        return float(np.nanmax(self.signal_R))

    def regret(self, row: int) -> float:
        """Return how far the row's signal is below the best of the space; 0 is the optimum."""
        return self.optimum - float(self.signal_R[row])

    def percentile(self, row: int) -> float:
        """Return the percent of architectures whose test accuracy is at most that of the row."""
        known_R = self.test_R[np.isfinite(self.test_R)]
        return 100.0 * float((known_R <= self.test_R[row]).mean())

    def averaged(self, classes_R: np.ndarray) -> Columns:
        """Return the columns with the mean of its class in place of each value.

        Args:
            classes_R: the class of each row, from 0 on; what is not known counts for nothing.
        """
        validation_R, cells = self.validation_R, "of each cell that computes the same"
        return replace(
            self,
            trainings=None if self.trainings is None else f"{self.trainings} {cells}",
            validation_R=None if validation_R is None else _means(validation_R, classes_R),
            test_R=_means(self.test_R, classes_R),
            seconds_R=None if self.seconds_R is None else _means(self.seconds_R, classes_R),
            shorter={count: _means(one_R, classes_R) for count, one_R in self.shorter.items()},
        )


def _means(values_R: np.ndarray, classes_R: np.ndarray) -> np.ndarray:
    """Return the mean of the known values of its class for each row; NaN where none is known."""
    known_R = np.isfinite(values_R)
    count_K = np.bincount(classes_R, known_R)
    sum_K = np.bincount(classes_R, np.where(known_R, values_R, 0.0))
    mean_K = np.divide(sum_K, count_K, out=np.full(len(sum_K), np.nan), where=count_K > 0)
    means_R: np.ndarray = mean_K[classes_R]
    return means_R


def span(counts_R: np.ndarray) -> str:
    """Return how many there are of something, for each row.

    >>> span(np.array([3, 2, 3])), span(np.array([1]))
    ('2 to 3', '1')
    """
    least, most = int(counts_R.min()), int(counts_R.max())
    return str(least) if least == most else f"{least} to {most}"


class Table(ABC):
    """A loaded benchmark table. A subclass knows one space.

    Raises:
        UsageError: arrays that do not fit together or hold impossible values.
    """

    space: ClassVar[str]
    num_rows: int  # of a class, where all its tables have as many
    has_copies: ClassVar[bool]  # whether isomorphic cells have a row each
    required: ClassVar[tuple[str, ...]]  # arrays that it must have; the first has a row per cell
    numbers: ClassVar[
        Mapping[str, float]
    ]  # columns of one number per row: the highest there can be
    shapes: ClassVar[Mapping[str, TaskShape]] = {}  # dataset -> its images and classes
    size: ClassVar[NetworkSize] = NetworkSize()  # of the networks that its makers have trained
    offers: ClassVar[tuple[str, ...]] = ()  # datasets that its benchmark has, if not every file
    has_accuracies: ClassVar[bool] = True  # whether a search can be done on it
    has_costs: ClassVar[bool] = False  # whether it says what networks cost on devices
    has_scores: ClassVar[bool] = False  # whether it has scores of untrained networks
    costs: Mapping[str, np.ndarray] = MappingProxyType({})
    """Column -> cost_R, float64: what each architecture costs, such as latency_ms_raspi4."""
    units: Mapping[str, str] = MappingProxyType({})
    """Column -> its unit, where that is no part of the column's name."""
    scores: Mapping[str, Mapping[str, np.ndarray]] = MappingProxyType({})
    """Dataset -> name -> score_R, float64: what an untrained network says; higher is better."""

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self.path = path
        self._genes_RD: np.ndarray | None = None
        self._classes_R: np.ndarray | None = None
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

    def classes(self, canonical: Callable[[Genotype], object]) -> np.ndarray:
        """Return the class of each row, classes_R from 0 on, int64; isomorphic cells share one.

        They are kept for the other runs of a sweep, as the genes are.
        """
        if self._classes_R is None:
            known: dict[object, int] = {}
            keys = (canonical(genotype) for genotype in self.genotypes())
            self._classes_R = np.array([known.setdefault(key, len(known)) for key in keys])
        return self._classes_R

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

    def _number_problems(
        self, name: str, values_R: np.ndarray, highest: float, lowest: float = 0.0
    ) -> Iterator[str]:
        if values_R.shape != (self.num_rows,) or values_R.dtype.kind not in "fiu":
            yield (
                f"{name} must be {self.num_rows} numbers, not {values_R.dtype} of the shape "
                f"{values_R.shape}"
            )
        elif not np.isfinite(values_R).all():
            yield f"{name} has {int((~np.isfinite(values_R)).sum())} values that are not finite"
        elif values_R.min() < lowest or values_R.max() > highest:
            yield (
                f"{name} must be in [{lowest:g}, {highest:g}], not {values_R.min():g} to "
                f"{values_R.max():g}"
            )

    def _absent(self, genotype: Genotype) -> UsageError:
        return UsageError(
            f"the table {self.path} of space={self.space} has no row for the genotype "
            f"{genotype.short_id} of space '{genotype.space}'"
        )

"""Define what a run finds, as `result.json` holds it.

Accuracies are fractions in [0, 1], times are seconds; `None` is what was not measured.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Self

from nasrun.genotypes.genotype import Genotype


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """The network of the genotype, trained from scratch."""

    epochs: int
    seconds: float = 0.0
    val_accuracy: float | None  # `None` where all training data was used
    test_accuracy: float
    macro_f1: float
    params: int
    flops: int  # multiply-adds of one image
    test_top5_accuracy: float | None = None  # where there are more than five classes


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """What a table says of a cell on one dataset."""

    val_accuracy: float | None
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Control(Accuracies):
    """A cell that needs no search, to compare with."""

    name: str
    percentile: float


@dataclass(frozen=True, kw_only=True)
class TableEntry(Accuracies):
    """The cell in a benchmark table.

    `regret` is that of the signal, `percentile`, in [0, 100], that of the test accuracy among all
    architectures; `datasets` has the figures on all that the table has.
    """

    file: str
    signal: str  # the column that the search saw
    regret: float
    percentile: float
    datasets: Mapping[str, Accuracies]
    control: Control | None
    landscape: bool | None = None  # true where candidates were scored on the landscape of the table


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """How well shared weights rank cells: Kendall's tau with the table's test accuracy."""

    num_cells: int | None = None  # `None`: all
    loss_tau: float | None = None
    accuracy_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """How well a predictor ranks: Kendall's tau, without a label, and on those that it chose."""

    held_out_tau: float | None = None
    infill_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgainstFloors:
    """The validation accuracies of simple methods; `by` is positive where the best is beaten."""

    strategies: Mapping[str, float]
    best: str
    beaten: bool
    by: float


@dataclass(frozen=True, kw_only=True)
class Final:
    """What an evaluator knows of the result, and the search may not see."""

    table: TableEntry | None = None
    one_shot: OneShot | None = None


@dataclass(frozen=True, kw_only=True)
class Result(Final):
    """What a run has found. A run without a search has no `strategy`."""

    strategy: str | None = None
    space: str
    dataset: str
    seed: int
    genotype: Genotype
    front: tuple[Genotype, ...] | None = None  # of a method that finds several
    evaluations: int = 0  # true ones
    scorings: int = 0  # on shared weights, or predicted
    search_seconds: float = 0.0
    label_seconds: float = 0.0  # what the labels cost; on a table, what they cost its makers
    search_val_accuracy: float | None = None  # of the last alpha, or of the best label
    chosen_val_accuracy: float | None = None  # of what the last step moved towards (EG-NAS's Eq. 9)
    threads: int | None = None
    predictor: Ranked | None = None
    floor: AgainstFloors | None = None
    retrain: Retrained | None = None
    warnings: tuple[str, ...] = ()

    @property
    def test_accuracy(self) -> float | None:
        """Return that of the retrained network, or else what the table says of the cell."""
        tested = self.retrain or self.table
        return None if tested is None else tested.test_accuracy

    def to_json(self) -> dict[str, Any]:
        """Return plain values; keys whose value is `None` are there as well."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Read plain values, of earlier versions too; unknown keys are left out.

        Raises:
            ValueError: it is not the result of a run.
        """
        try:
            result: Self = _made(cls, content)
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(str(error)) from None
        return result


def _plain(value: Any) -> Any:
    if isinstance(value, Genotype):
        return value.to_json()
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _made(hint: Any, value: Any) -> Any:
    """Turn a plain value into one of the declared type. Raises `TypeError` where it is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # one kind or None
        return None if value is None else _made(arguments[0], value)
    if hint is Genotype:
        return Genotype.from_json(value)
    if is_dataclass(hint) and isinstance(value, Mapping):
        assert isinstance(hint, type)
        hints = typing.get_type_hints(hint)
        known = {name: one for name, one in value.items() if name in hints}
        return hint(**{name: _made(hints[name], one) for name, one in known.items()})
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_made(arguments[0], one) for one in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {str(key): _made(arguments[1], one) for key, one in value.items()}
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    raise TypeError(f"{value!r:.80} is not of the type {hint}")

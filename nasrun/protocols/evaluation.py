"""Define what an evaluator offers: genotypes in, objectives out.

Everything is minimised except where a name says accuracy; accuracies are fractions in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.space import ArchGraph, MixingWeights
from nasrun.protocols.state import Stateful


@runtime_checkable
class KnowsTheSpace(Protocol):
    """An evaluator that could tell of every architecture what a label would say."""

    optimum: float  # the best that a label can say: an accuracy

    def held_out(
        self, labels: Sequence[Evaluation], limit: int
    ) -> tuple[Sequence[ArchGraph], np.ndarray]:
        """Up to `limit` architectures without a label, and their accuracy_N, float64: for every
        run the same ones, but for the labelled."""


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one true evaluation. A failed one has an error and values of infinity."""

    genotype: Genotype
    values: tuple[float, ...]  # the objectives, minimised; the first is the validation error
    cost_s: float
    details: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


class Evaluator(Protocol):
    """Genotypes in, objectives out. `Labels` wraps one with the cache, the count and the budget; it
    asks for one genotype at a time, and makes a record of a training that fails with one of
    `labels.FAILURES`. One that can do more is `AtOnce`."""

    objectives: tuple[str, ...]
    needs_images: ClassVar[bool]  # whether it trains on the dataset

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]: ...


@runtime_checkable
class AtOnce(Evaluator, Protocol):
    """An evaluator that is given all that is new in one call, such as a population, and works on
    `at_once` of them side by side. The evaluations are in the order of the genotypes, whatever was
    finished first; a training that fails with one of `labels.FAILURES` is one with an error."""

    at_once: int


class LooksUp(Evaluator, Protocol):
    """An evaluator that knows more of the result than a search may see."""

    def final(self, genotype: Genotype) -> dict[str, Any]:
        """Keys that `result.json` gets besides; asked once, when the search is over."""


@runtime_checkable
class OneShot(Evaluator, Stateful, Protocol):
    """Its labels are scores on shared weights, whose training a resumed run does not repeat."""

    num_scorings: int


@dataclass(frozen=True)
class StepReport:
    """What one step of a strategy did. The driver records it; strategies never log."""

    metrics: Mapping[str, float]
    evaluations: tuple[Evaluation, ...] = ()
    incumbent: Genotype | None = None
    weights: MixingWeights | None = None  # shown as heat maps

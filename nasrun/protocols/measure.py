"""Define what an objective beside the error offers, and what keeps a result within limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import TaskShape
from nasrun.protocols.evaluation import Objective
from nasrun.protocols.space import NetworkSize, SearchSpace
from nasrun.protocols.state import Stateful

if TYPE_CHECKING:
    from nasrun.compute.device import Device


@dataclass(frozen=True)
class MeasuredNetworks:
    """Which networks are measured: those of a space, for these images, in this size.

    The device is the one that the run computes on.
    """

    space: SearchSpace
    shape: TaskShape
    size: NetworkSize
    device: Device


class Measure(Protocol):
    """What the network of an architecture costs, to be minimised.

    It is constructed with the `MeasuredNetworks`, then the keywords of its file in
    `conf/objective`. What it can do is declared here.
    """

    objective: Objective
    quantity: str  # params, flops, memory, latency or another: which constraint limits it
    how: str  # what was measured where, as a person reads it
    is_quick: bool = True  # whether every candidate of a search can be asked about
    is_bought: ClassVar[bool] = False  # whether a value is a measurement on a device, which counts
    largest: float | None = None  # of the whole space, where that is known

    def measure(self, genotype: Genotype) -> float:
        """Return the value in the unit of the objective; it is finite and not negative."""


@dataclass(frozen=True)
class Limit:
    """The most that a result may cost, in the unit of the objective; `key` is what a user typed."""

    key: str
    measure: Measure
    at_most: float


class Limits(Stateful, Protocol):
    """The limits of a run: all of its constraints together.

    An architecture whose output does not depend on its input is never within them.
    """

    limits: tuple[Limit, ...]

    @property
    def num_measurements(self) -> int:
        """Count the measurements bought so far; what can be computed or looked up is free."""

    def allows(self, genotype: Genotype) -> bool:
        """Return whether an architecture may be proposed: within the limits, for all one knows.

        What is costly to measure is predicted.
        """

    def holds(self, genotype: Genotype) -> bool:
        """Return whether an architecture is within the limits; it is measured."""

    def excess(self, genotype: Genotype) -> float:
        """Return how far an architecture is beyond the limits, as shares of them; 0 is within.

        What is costly to measure is predicted.
        """

    def within(self, genotype: Genotype) -> Genotype:
        """Return the architecture itself where it holds, or else one near it that does."""

    def costs(self, genotype: Genotype) -> Mapping[str, float]:
        """Return the measured value of each limited objective, by its name."""

"""Define what an evaluator offers: genotypes in, objectives out.

Everything is minimised except where a name says accuracy; accuracies are fractions in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import MetricName, TaskShape
from nasrun.protocols.result import Final
from nasrun.protocols.space import ArchGraph, MixingWeights, NetworkSize
from nasrun.protocols.state import Stateful

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.protocols.scorer import Scorer


@dataclass(frozen=True)
class Objective:
    """A quantity by which architectures are compared. The first one is what a search minimises."""

    name: str
    unit: str
    direction: Literal["minimise", "maximise"] = "minimise"

    def cost(self, value: float) -> float:
        """Return what is to be minimised."""
        return value if self.direction == "minimise" else -value

    @property
    def worst(self) -> float:
        """Return the value that a failed evaluation has."""
        return self.cost(float("inf"))


VALIDATION_ERROR = Objective("val_error", "fraction")


def error_of(metric: MetricName) -> Objective:
    """Return the objective of a search that maximises a metric: 1 less the metric.

    >>> error_of("macro_f1")
    Objective(name='val_macro_f1_error', unit='1 - macro_f1', direction='minimise')
    """
    if metric == "accuracy":
        return VALIDATION_ERROR
    return Objective(f"val_{metric}_error", f"1 - {metric}")


Cost = Literal["flops", "params"]
"""What a network costs: the multiply-adds of one input, or the trainable parameters."""
COSTS: Mapping[Cost, Objective] = {
    "flops": Objective("flops", "multiply-adds"),
    "params": Objective("params", "parameters"),
}


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one true evaluation. A failed one has an error and infinite values.

    Where a search maximises another metric than the accuracy, the details have `val_accuracy`.
    """

    genotype: Genotype
    values: tuple[float, ...]  # of the objectives, in their order
    cost_s: float
    details: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


class Evaluator(Stateful, Protocol):
    """Genotypes in, objectives out; scorers for strategies on alphas; or both.

    `Labels` wraps one with the cache, the count and the budget. What an evaluator can do besides is
    declared here with the value that says it cannot, so that nobody has to guess: a class inherits
    from this one and overrides what it offers.
    """

    needs_images: ClassVar[bool]  # whether it trains on the dataset
    evaluates: ClassVar[bool] = True  # whether it offers `evaluate`
    makes_scorers: ClassVar[bool] = False  # whether it offers `scorer`
    needs_alphas: ClassVar[bool] = False  # whether the space must be a `DifferentiableSpace`
    reads_table: ClassVar[bool] = False  # whether there must be a benchmark of the space
    spaces: ClassVar[tuple[str, ...]] = ()  # those it knows architectures of; none named: all
    metrics: ClassVar[tuple[MetricName, ...]] = ("accuracy",)  # what a search on it can maximise
    # whether labels are scores on shared weights, whose training a resumed run does not repeat
    labels_are_scores: bool = False
    objectives: tuple[Objective, ...] = (VALIDATION_ERROR,)
    # How many genotypes it works on side by side, where it is given all that is new in one call,
    # such as a population; a training that fails with one of `labels.FAILURES` is an evaluation
    # with an error. `None`: `Labels` asks for one at a time, and makes the record of a failure.
    at_once: int | None = None
    # How many genotypes it is best asked for together, where they compete; a request may have more
    # or fewer. `None`: labels do not depend on what is asked for besides.
    bracket: int | None = None
    optimum: float | None = None  # the best accuracy a label can have, where that is known
    size: NetworkSize = NetworkSize()  # of the networks behind the labels
    shape: TaskShape | None = None  # of their images, where that is known without the dataset
    makers_size: NetworkSize | None = None  # of networks that others have trained, for a table

    @property
    def num_scorings(self) -> int:
        """Count the labels measured so far that are scores."""
        return 0

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Evaluate genotypes; return the outcomes in their order, whatever was finished first."""
        raise NotImplementedError

    def work(self, task: Any) -> Any:
        """Do a task in a worker process; tasks and answers are plain values of the evaluator's."""
        raise NotImplementedError

    def scorer(self, **settings: Any) -> Scorer:
        """Make a fresh scorer; the settings are those of `SupernetScorer`."""
        raise NotImplementedError

    def shared_weights(self) -> Mapping[str, Tensor]:
        """Return the weights of a supernet of the space's own size, by name.

        It is empty where none was trained, or none that has all architectures.
        """
        return {}

    def final(self, genotype: Genotype) -> Final:
        """Return what the evaluator knows of the result and the search may not see.

        It is asked once, when the search is over.
        """
        return Final()

    def best_within(self, holds: Callable[[Genotype], bool]) -> float | None:
        """Return the best accuracy that a label can have of what holds; `None` for the unknown."""
        return None

    def fingerprint(self) -> str | None:
        """Return a checksum of the table behind the labels, where there is one."""
        return None

    def held_out(
        self, labels: Sequence[Evaluation], limit: int
    ) -> tuple[Sequence[Genotype], Sequence[ArchGraph], np.ndarray]:
        """Return up to `limit` architectures without a label, and their accuracy_N, float64.

        There are some where the `optimum` is known. They are the same for every run, but for the
        labelled ones.
        """
        return [], [], np.zeros(0)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing, unless labels are scores."""


@dataclass(frozen=True)
class StepReport:
    """What one step of a strategy did. The driver records it; strategies never log."""

    metrics: Mapping[str, float]
    evaluations: tuple[Evaluation, ...] = ()
    incumbent: Genotype | None = None
    weights: MixingWeights | None = None  # shown as heat maps


def costs(labels: Sequence[Evaluation], objectives: Sequence[Objective]) -> np.ndarray:
    """Return costs_NM, what is to be minimised: values, with a minus where more is better."""
    rows = (zip(objectives, label.values, strict=True) for label in labels)
    return np.array([[objective.cost(value) for objective, value in row] for row in rows])

"""Define what a run finds, as `result.json` holds it.

Accuracies are fractions in [0, 1], times are seconds; `None` is what was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.plain import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class ClassFigures:
    """How well one class is recognised: of its test inputs, and of those that are taken for it."""

    name: str
    count: int  # test inputs of the class
    sensitivity: float  # recall: the share of them that is recognised
    positive_predictivity: float  # precision: the share of right ones among what is taken for it


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
    balanced_accuracy: float | None = None  # the mean sensitivity of the classes
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = None  # test inputs: true class, taken for


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """What a table says of a cell on one dataset."""

    val_accuracy: float | None
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class TableValues:
    """What the figures of a `TableEntry` are, and those of the cell in their own unit.

    An accuracy is a fraction. Of any other quantity the entry has scores, in [0, 1] from `worst` to
    `best` (an error has 1 less the error), under the names of accuracies.
    """

    quantity: str
    unit: str
    direction: str  # minimise or maximise
    worst: float  # the value whose score is 0
    best: float  # and that whose score is 1
    validation: float | None
    test: float
    judged_by: str  # test, or validation in a table without a test column, whose test is the same
    trainings: str | None  # behind each value: "1", "2 to 3"; `None` where the table does not say
    isomorphic: str  # own: of the cell alone; averaged; averaged_in_the_end: where it is judged


@dataclass(frozen=True, kw_only=True)
class Control(Accuracies):
    """A cell that needs no search, to compare with; `datasets` as in `TableEntry`."""

    name: str
    percentile: float
    datasets: Mapping[str, Accuracies] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableEntry(Accuracies):
    """The cell in a benchmark table.

    `regret` is that of the signal: to the best within the limits of the run where `within_limits`
    is true, else to the best of all (of a latency on this device only few are known). `percentile`,
    in [0, 100], is that of the test accuracy among all architectures; `datasets` has the figures on
    all that the table has. `control` is what any liking for convolutions finds, and `references`
    are the published cells of the space.
    """

    file: str
    signal: str  # the column that the search saw
    regret: float
    percentile: float
    datasets: Mapping[str, Accuracies]
    control: Control | None
    references: tuple[Control, ...] = ()
    within_limits: bool | None = None  # whether `regret` is to the best within the limits
    landscape: bool | None = None  # true where candidates were scored on the landscape of the table
    values: TableValues | None = None  # of the dataset that was searched


@dataclass(frozen=True, kw_only=True)
class SurrogateValue:
    """What a surrogate says of a cell, which is no accuracy of a trained network.

    `value` is a normal score: 0 is the median of the trained cells, 1 beats 84 % of them.
    `percentile`, in [0, 100], is that among random cells, by the same surrogate.
    """

    name: str
    value: float
    percentile: float


@dataclass(frozen=True, kw_only=True)
class SurrogateEntry(SurrogateValue):
    """The cell of the result; statements by surrogates are relative ones.

    `control` is what any liking for convolutions finds, `references` are the published cells.
    `above_control` has the difference to the value of `control` by each family of surrogates: those
    that the search has not seen tell whether it has found the error of its own.
    """

    file: str  # of the trained cells
    family: str  # of the surrogate that was searched
    control: SurrogateValue
    random: float  # the mean value of random cells
    above_control: Mapping[str, float]
    references: tuple[SurrogateValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """How well shared weights rank cells: Kendall's tau with the table's test accuracy."""

    num_cells: int | None = None  # `None`: all
    loss_tau: float | None = None
    accuracy_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """How well a predictor ranks: Kendall's tau on cells without a label, and on those it chose."""

    held_out_tau: float | None = None
    infill_tau: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgainstFloors:
    """Compare with the validation accuracies of simple methods and of cells that were published.

    `by` is positive where the best of them is beaten.
    """

    strategies: Mapping[str, float]
    best: str
    beaten: bool
    by: float


@dataclass(frozen=True, kw_only=True)
class FrontMember:
    """An architecture that no other one beats in all objectives, and its value in each."""

    genotype: Genotype
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Hypervolume:
    """How much a front dominates: the share, in [0, 1], of the box between 0 and a reference.

    The reference has a value for each objective, by its name: 1 for the error; for a cost its
    limit, or else the largest of the table, or else the largest of the run's labels. Shares by
    different references cannot be compared.
    """

    value: float
    reference: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the network of the result costs besides its error, and at most may cost."""

    name: str
    unit: str
    value: float
    at_most: float | None
    how: str  # it was measured


@dataclass(frozen=True, kw_only=True)
class Final:
    """What an evaluator knows of the result, and the search may not see."""

    table: TableEntry | None = None
    one_shot: OneShot | None = None
    surrogate: SurrogateEntry | None = None


@dataclass(frozen=True, kw_only=True)
class Result(Final):
    """What a run has found. A run without a search has no `strategy`."""

    strategy: str | None = None
    space: str
    dataset: str
    seed: int
    genotype: Genotype
    front: tuple[FrontMember, ...] | None = None  # of a method that finds several; chosen one first
    hypervolume: Hypervolume | None = None  # of the front
    costs: tuple[Cost, ...] | None = None  # of a run with an objective besides, or a constraint
    measurements: int | None = None  # bought on a device where not all costs were known
    evaluations: int = 0  # true ones
    scorings: int = 0  # on shared weights, or predicted
    knowledge: tuple[str, ...] = ()  # what it knew of architectures besides: size, zero_cost
    knowledge_how: str | None = None  # where that came from, for people
    # of untrained networks, computed in this run; `None` for none, and for the scores of a table
    proxy: str | None = None
    search_seconds: float = 0.0
    label_seconds: float = 0.0  # what the labels cost; on a table, what they cost its makers
    label_epochs: int | None = None  # of all trainings, where some were stopped early
    search_val_accuracy: float | None = None  # of the last alpha, or of the best label
    metric: str | None = None  # what the search maximised, where that is not the accuracy
    search_val_score: float | None = (
        None  # and how much of it the best label has, or the last alpha
    )
    chosen_val_accuracy: float | None = None  # of what the last step moved towards (EG-NAS's Eq. 9)
    threads: int | None = None
    predictor: Ranked | None = None
    floor: AgainstFloors | None = None
    retrain: Retrained | None = None
    warnings: tuple[str, ...] = ()

    @property
    def search_score(self) -> float | None:
        """Return what the search has reached on validation inputs, of what it maximised."""
        return self.search_val_accuracy if self.metric is None else self.search_val_score

    @property
    def test_accuracy(self) -> float | None:
        """Return the accuracy of the retrained network, or else what the table says of the cell."""
        tested = self.retrain or self.table
        return None if tested is None else tested.test_accuracy

    def to_json(self) -> dict[str, Any]:
        """Return plain values; keys whose value is `None` are there as well."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Read plain values, of earlier versions too; unknown keys are left out.

        Raises:
            ValueError: it is not the result of a run.
        """
        try:
            result: Self = from_plain(cls, content)
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(str(error)) from None
        return result

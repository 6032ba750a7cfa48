"""Type the fixed parts of the configuration: their keys, ranges and units.

Fixed parts (budget, fitness, ...) are dataclasses; plug-in nodes (dataset, space, strategy, ...)
are plain mappings that `plugins.py` checks against the signature of their target. Values live in
`conf/`, never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import Gt, Interval

from nasrun.protocols.settings import (
    BatchSize,
    Cells,
    Channels,
    Fraction,
    Matches,
    Meaning,
    NotNegative,
    NumEpochs,
    NumLabels,
    OneOf,
    PopulationSize,
    Seed,
    Unit,
    WeightTraining,
)
from nasrun.protocols.space import NetworkSize

PLUGINS = (
    "dataset", "space", "evaluator", "predictor", "proxy", "objective", "strategy", "tracker"
)  # fmt: skip
OPTIONAL = ("predictor", "proxy", "objective", "tracker")  # most runs use none
DEVICES = "auto, cpu, cuda or cuda:<n>"
OnError = Enum("OnError", ["continue", "stop"])  # what a sweep does after a job that failed


@dataclass
class SweepConfig:
    on_error: OnError


class PluginNode(dict[str, Any]):
    """The settings of a plug-in.

    `typed_as` has the key under which a person types a value that the plug-in takes from another
    group, such as num_epochs -> budget.epochs. `option` is the chosen option of the group, where
    it is known: `egnas_paper`. `places` has settings that are built with another value than the
    recorded one, which decides what run it is: where files are that have moved.
    """

    typed_as: Mapping[str, str] = MappingProxyType({})
    option: str | None = None
    places: Mapping[str, str] = MappingProxyType({})


@dataclass
class FitnessConfig:
    zeta: float
    eta: float
    similarity: Annotated[str, OneOf("printed", "centred")]


@dataclass
class PopulationConfig:
    size: PopulationSize | None


@dataclass
class BudgetConfig:
    epochs: NumEpochs
    evaluations: NumLabels
    seconds: Annotated[float, Gt(0), Unit("s")] | None
    label_epochs: Annotated[int, Gt(0), Unit("epochs of trainings")] | None = None  # came later


@dataclass
class ConstraintConfig:
    """The most that the network of a result may cost; `None` is no limit. It came later."""

    params_m: Annotated[float, Gt(0), Unit("million parameters")] | None = None
    flops_m: Annotated[float, Gt(0), Unit("million multiply-adds")] | None = None
    memory_mb: Annotated[float, Gt(0), Unit("MB")] | None = None
    latency_ms: Annotated[float, Gt(0), Unit("ms")] | None = None
    objective: Annotated[float, Gt(0), Unit("of the objective")] | None = None
    measurements: Annotated[int, Interval(ge=2, le=10**6), Unit("measurements")] | None = None


@dataclass
class RetrainConfig:
    epochs: Annotated[int, Interval(ge=0, le=10**6)]
    batch_size: BatchSize | None
    channels: Channels | None
    cells: Cells | None
    stem: Annotated[str, OneOf("cifar", "imagenet")] | None
    learning_rate: NotNegative
    learning_rate_min: NotNegative
    schedule: Annotated[str, OneOf("cosine", "linear")]
    warmup_epochs: Annotated[int, Interval(ge=0, le=10**6)]
    momentum: Fraction
    nesterov: bool
    weight_decay: NotNegative
    gradient_clip: float  # 0 or less is off
    cutout: bool
    auxiliary_weight: NotNegative
    drop_path: Fraction
    label_smoothing: Fraction
    validation: Fraction

    @property
    def size(self) -> NetworkSize:
        """Return how large the retrained network is."""
        return NetworkSize(
            channels=self.channels,
            cells=self.cells,
            auxiliary=self.auxiliary_weight > 0,
            stem=cast(Literal["cifar", "imagenet"] | None, self.stem),
        )

    @property
    def training(self) -> WeightTraining:
        """Return the settings of SGD among them."""
        return WeightTraining(
            **{item.name: getattr(self, item.name) for item in fields(WeightTraining)}
        )


@dataclass
class RunConfig:
    """What every command that trains has. Plug-in nodes are mappings with a `_target_`."""

    dataset: Any
    space: Any
    retrain: RetrainConfig
    seed: Seed
    device: Annotated[str, Matches(r"auto|(cpu|cuda)(:\d{1,4})?"), Meaning(DEVICES)]
    precision: Annotated[str, OneOf("auto", "float32", "bfloat16", "float64")]
    compile: bool
    on_oom: Annotated[str, OneOf("stop", "halve")]
    sync_batch_norm: bool
    name: str | None
    sweep: SweepConfig


@dataclass
class SearchConfig(RunConfig):
    evaluator: Any
    predictor: Any  # None: the strategy uses none
    strategy: Any
    fitness: FitnessConfig
    population: PopulationConfig
    budget: BudgetConfig
    floor: bool
    objective: Any = None  # None: the error alone
    constraint: ConstraintConfig = field(default_factory=ConstraintConfig)
    # without a value in the records of earlier versions, see `identity.LATER`
    proxy: Any = None  # None: the table of scores where there is one, else logsynflow
    metric: Annotated[str, OneOf("accuracy", "balanced_accuracy", "macro_f1")] | None = None
    tracker: Any = None  # None: TensorBoard and the files of the run folder alone


@dataclass
class RetrainCommandConfig(RunConfig):
    genotype: str
    tracker: Any = None


PARTS: Mapping[str, type] = {
    "budget": BudgetConfig,
    "constraint": ConstraintConfig,
    "fitness": FitnessConfig,
    "population": PopulationConfig,
    "retrain": RetrainConfig,
    "sweep": SweepConfig,
}
SCHEMAS: Mapping[str, type] = {
    "search_schema": SearchConfig,
    "retrain_schema": RetrainCommandConfig,
}
AnyConfig = TypeVar("AnyConfig", SearchConfig, RetrainCommandConfig)

"""The typed skeleton of the configuration, and what makes a composed one valid.

Fixed parts (budget, fitness, ...) are dataclasses; plug-in nodes (dataset, space, strategy, ...)
are plain mappings that `plugins.py` checks against the signature of their target. Values live in
`conf/`, never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

PLUGINS = ("dataset", "space", "evaluator", "predictor", "strategy")
OnError = Enum("OnError", ["continue", "stop"])  # what a sweep does after a job that failed


@dataclass
class SweepConfig:
    on_error: OnError


@dataclass
class FitnessConfig:
    zeta: float
    eta: float
    similarity: str


@dataclass
class PopulationConfig:
    size: int | None


@dataclass
class BudgetConfig:
    epochs: int
    evaluations: int
    seconds: float | None


@dataclass
class RetrainConfig:
    epochs: int
    batch_size: int | None
    channels: int | None
    cells: int | None
    stem: str | None
    learning_rate: float
    learning_rate_min: float
    schedule: str
    warmup_epochs: int
    momentum: float
    nesterov: bool
    weight_decay: float
    gradient_clip: float
    cutout: bool
    auxiliary_weight: float
    drop_path: float
    label_smoothing: float
    validation: float


@dataclass
class RunConfig:
    """What every command that trains has. Plug-in nodes are mappings with a `_target_`."""

    dataset: Any
    space: Any
    retrain: RetrainConfig
    seed: int
    device: str
    precision: str
    compile: bool
    on_oom: str
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


@dataclass
class RetrainCommandConfig(RunConfig):
    genotype: str


PARTS: Mapping[str, type] = {
    "budget": BudgetConfig,
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

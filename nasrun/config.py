"""The typed skeleton of the configuration, and what makes a composed one valid.

Fixed parts (budget, fitness, ...) are dataclasses; plug-in nodes (dataset, space, strategy, ...)
are plain mappings that `build.py` checks against the signature of their target. Values live in
`conf/`, never here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasrun.conf_files import conf_dir
from nasrun.errors import UsageError

PLUGINS = ("dataset", "space", "evaluator", "predictor", "strategy")
READERS = ("strategy", "evaluator")  # of keys in other groups
MOST_NAMED = 8  # differences that a message names
SCHEMAS = {"search_schema": "SearchConfig", "retrain_schema": "RetrainCommandConfig"}

# The largest whole number by key, or by the last part of a key; elsewhere it is a million. What a
# paper uses is a tenth of it at most, and what is just allowed still fits into some machine.
LARGEST = {
    "batch_size": 100_000,
    "cells": 100,
    "channels": 4_096,
    "dataset.limit": 10**9,
    "dataset.num_classes": 100_000,
    "dataset.num_test": 10**9,
    "dataset.num_train": 10**9,
    "dataset.size": 10_000,
    "depth": 100,
    "encoder_widths": 10_000,
    "evaluator.workers": 1_000,
    "head_width": 10_000,
    "head_widths": 10_000,
    "num_anchors": 10_000,
    "num_members": 100,
    "partial_channels": 4_096,
    "population.size": 10_000,
    "population_size": 10_000,
    "strategy.num_epochs": 10**18,  # budget.epochs, which has a range of its own
    "strategy.num_labels": 10**18,
    "width": 10_000,
}

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
AnyConfig = TypeVar("AnyConfig", SearchConfig, RetrainCommandConfig)


def register() -> None:
    """Make the schemas and resolvers known to Hydra and OmegaConf; safe to call twice."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=name, node=globals()[schema])
    register_resolvers()


def register_resolvers() -> None:
    # ${first:a,b}: the first value that is not null, for keys whose null means "the method's own"
    OmegaConf.register_new_resolver(
        "first",
        lambda *values: next((value for value in values if value is not None), None),
        replace=True,
    )
    # ${up_to_half:a,b}: a, but at most half of b, for a first population within a small budget
    OmegaConf.register_new_resolver(
        "up_to_half", lambda value, budget: max(2, min(value, budget // 2)), replace=True
    )

    # ${one_of:n,a,b,...}: the n-th of the others, counted round
    OmegaConf.register_new_resolver(
        "one_of", lambda number, *values: values[number % len(values)], replace=True
    )


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command, inside a job of Hydra's or outside."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register()
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(command, list(overrides))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, list(overrides))


def to_typed(config: DictConfig, schema: type[AnyConfig]) -> AnyConfig:
    """The composed (or recorded) configuration as plain dataclasses and mappings.

    Raises:
        UsageError: a value is missing, of the wrong type, or out of range; all faults at once.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        values = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
        typed = cast(AnyConfig, _build(schema, values))
    except (OmegaConfBaseException, OverflowError) as error:
        key = getattr(error, "full_key", None) or "the configuration"
        raise UsageError(f"{key}: {str(error).splitlines()[0]}") from None
    return typed


def _build(schema: type, values: Any) -> Any:
    """A dataclass from nested mappings; plug-in nodes stay mappings."""
    if not isinstance(values, Mapping):
        return values
    arguments = {
        item.name: _build(PARTS[item.name], values[item.name])
        if item.name in PARTS
        else values[item.name]
        for item in fields(schema)
    }
    return schema(**arguments)


def faults(config: RunConfig) -> Iterator[str]:
    """One sentence for each value that no run can have."""
    yield from _not_finite(config)
    yield from _too_large(config)
    yield from _out_of_range(config.seed, "seed", 0, 2**32 - 1)
    if config.precision not in ("auto", "float32", "bfloat16"):
        yield f"precision={config.precision} is not known: use auto, float32 or bfloat16"
    if config.on_oom not in ("stop", "halve"):
        yield f"on_oom={config.on_oom} is not known: use stop or halve"
    yield from _retrain_faults(config.retrain)
    if isinstance(config, SearchConfig):
        if config.fitness.similarity not in ("printed", "centred"):
            yield f"fitness.similarity={config.fitness.similarity}: use printed or centred"
        yield from _out_of_range(config.budget.epochs, "budget.epochs", 1, 10**6)
        yield from _out_of_range(config.budget.evaluations, "budget.evaluations", 1, 10**6)
        seconds = config.budget.seconds
        if seconds is not None and not seconds > 0:
            yield f"budget.seconds={seconds} must be above 0, or null for no limit"


def _not_finite(config: RunConfig) -> Iterator[str]:
    wrong = {
        key: value
        for key, value in numbers(config)
        if isinstance(value, float) and not math.isfinite(value)
    }
    for key, value in _as_typed(wrong).items():
        yield f"{key}={value} is not a finite number"


def _too_large(config: RunConfig) -> Iterator[str]:
    """Whole numbers of plug-ins that would take the machine down before anybody noticed."""
    wrong = {
        key: (value, most)
        for key, value in numbers(config)
        if key.startswith((*(f"{name}." for name in PLUGINS), "population."))
        and type(value) is int
        and abs(value) > (most := largest(key))
    }
    for key, (value, most) in _as_typed(wrong).items():
        text = f"{value:,}" if abs(value) < 10**30 else "a number of many digits"
        yield f"{key}={text} is too large: it can be at most {most:,}"


def largest(key: str) -> int:
    """The highest whole number that a key of a plug-in can have."""
    name = key.rpartition(".")[2]
    return LARGEST.get(key, LARGEST.get(name, 2**32 - 1 if name.endswith("seed") else 10**6))


def numbers(config: RunConfig) -> Iterator[tuple[str, int | float]]:
    """All numbers in a configuration, those in lists too, with their keys."""
    for key, value in leaves(config):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int | float) and not isinstance(item, bool):
                yield key, item


def _as_typed(wrong: Mapping[str, Any]) -> Mapping[str, Any]:
    """A strategy repeats the values of other groups; the user typed them there."""
    return {k: value for k, value in wrong.items() if not k.startswith("strategy.")} or wrong


def _retrain_faults(retrain: RetrainConfig) -> Iterator[str]:
    yield from _out_of_range(retrain.epochs, "retrain.epochs", 0, 10**6)
    for name in ("batch_size", "channels", "cells"):
        value = getattr(retrain, name)
        if value is not None:
            yield from _out_of_range(value, f"retrain.{name}", 1, largest(name))
    if retrain.stem not in (None, "cifar", "imagenet"):
        yield f"retrain.stem={retrain.stem} is not known: use cifar or imagenet"
    if retrain.schedule not in ("cosine", "linear"):
        yield f"retrain.schedule={retrain.schedule} is not known: use cosine or linear"
    yield from _out_of_range(retrain.warmup_epochs, "retrain.warmup_epochs", 0, 10**6)
    for name in ("drop_path", "label_smoothing", "validation", "momentum"):
        value = getattr(retrain, name)
        if not 0 <= value < 1:
            yield f"retrain.{name}={value} must be in [0, 1)"
    if retrain.nesterov and retrain.momentum == 0:
        yield "retrain.nesterov=True needs retrain.momentum above 0"
    for name in ("learning_rate", "learning_rate_min", "weight_decay", "auxiliary_weight"):
        value = getattr(retrain, name)
        if value < 0:
            yield f"retrain.{name}={value} must not be negative"


def _out_of_range(value: int, key: str, low: int, high: int) -> Iterator[str]:
    if not low <= value <= high:
        yield f"{key}={value} must be between {low} and {high:,}"


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in nested mappings and dataclasses; lists are values."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def unread_overrides(config: DictConfig, overrides: Sequence[str]) -> Iterator[str]:
    """One sentence for each override of a key that neither strategy nor evaluator ever reads.

    Both read a key of another group by naming it in their YAML (`${fitness.zeta}`), so what they
    read is there to be looked up. `config` is unresolved.
    """
    nodes = [OmegaConf.to_container(config[name], resolve=False) for name in READERS]
    references = " ".join(str(value) for node in nodes for _, value in leaves(node))
    chosen = str(config.strategy.get("_target_", "")).rpartition(".")[2]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        group = key.partition(".")[0]
        read_by_key = group in ("fitness", "population", "budget")
        if not (read_by_key or group == "predictor") or key in ("budget", "budget.seconds"):
            continue
        wanted = "${predictor}" if not read_by_key else f"{group}." if key == group else key
        if wanted not in references:
            yield f"{override}: the strategy {chosen} never reads {key}; leave it out"


def decisive(config: RunConfig) -> dict[str, Any]:
    """Dotted key and plain value of all that decides the result."""
    irrelevant = ("name", "sweep.on_error", "on_oom", "evaluator.workers")
    return {key: value for key, value in leaves(config) if key not in irrelevant}


def signature(config: RunConfig) -> str:
    """A checksum of all that decides the result; equal signatures mean the same run."""
    return hashlib.sha256(json.dumps(decisive(config), default=str).encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, which of the `decisive` settings differ.

    >>> differences({"seed": 0, "a": 1}, {"seed": 2, "a": 1, "b": None})
    'seed was 0 and is 2, b was not there and is None'
    """
    absent = "not there"
    keys = [key for key in {**old, **new} if old.get(key, absent) != new.get(key, absent)]
    parts = [f"{key} was {old.get(key, absent)} and is {new.get(key, absent)}" for key in keys]
    more = [f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return ", ".join(parts[:MOST_NAMED] + more)

"""Find the values of a configuration that no run can have, and overrides that nothing reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nasrun.config.identity import leaves
from nasrun.config.schema import PLUGINS, RetrainConfig, RunConfig, SearchConfig

READERS = ("strategy", "evaluator")  # of keys in other groups
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

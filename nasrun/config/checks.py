"""Find the values of a configuration that no run can have, and overrides that nothing reads."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nasrun.config import matching, plugins, ranges
from nasrun.config.declarations import constant, declared
from nasrun.config.identity import leaves
from nasrun.config.renamed import present
from nasrun.config.schema import OPTIONAL, PLUGINS, PluginNode, RunConfig, SearchConfig
from nasrun.errors import Problem

READERS = ("strategy", "evaluator")  # what reads keys of other groups


def faults(config: RunConfig) -> Iterator[Problem]:
    """Yield a sentence for each value of the fixed parts that no run can have."""
    yield from _wrong_parts(config, "")
    if config.retrain.nesterov and config.retrain.momentum == 0:
        key = "retrain.nesterov"
        yield Problem(key, f"{key}=True needs retrain.momentum above 0")


def _wrong_parts(part: Any, prefix: str) -> Iterator[Problem]:
    """Compare each value of a dataclass with its declared range, those of its parts first."""
    hints = typing.get_type_hints(type(part), include_extras=True)
    for item in fields(part):
        key, value = f"{prefix}{item.name}", getattr(part, item.name)
        if is_dataclass(value):
            yield from _wrong_parts(value, f"{key}.")
        elif text := ranges.problem(key, value, hints[item.name]):
            yield Problem(key, text)


def all_faults(config: RunConfig) -> Iterator[Problem]:
    """Yield the faults of the fixed parts, of all plug-ins, and else of what they are together.

    Torch is not imported for it.
    """
    yield from faults(config)
    sound = True
    for item in fields(config):
        node = getattr(config, item.name)
        missing = item.name in OPTIONAL and node is None
        if item.name in PLUGINS and not missing:
            for problem in plugins.faults(node, item.name):
                sound = False
                yield problem
    if sound and isinstance(config, SearchConfig):
        yield from matching.mismatches(config)


def missing_places(config: RunConfig) -> Iterator[Problem]:
    """Yield a sentence for each file or folder that has to be there before a run, and is not."""
    for name in PLUGINS:
        node = getattr(config, name, None)
        if not isinstance(node, PluginNode) or any(plugins.faults(node, name)):
            continue  # what is wrong with it is told elsewhere
        known = declared(present(node["_target_"]))
        assert known is not None
        values = {**node, **node.places}
        for setting, declaration in known.settings.items():
            what = ranges.missing(values.get(setting), declaration.hint)
            if what:
                key = f"{name}.{setting}"
                yield Problem(key, f"{key}={values[setting]}: there is no such {what}")


READ_BY_THE_ENGINE = ("budget", "budget.seconds", "budget.label_epochs")


def unread_overrides(config: DictConfig, overrides: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each override of a key that nothing reads.

    Strategy and evaluator read a key of another group by naming it in their YAML
    (`${fitness.zeta}`), so what they read is there to be looked up. `config` is unresolved.
    """
    nodes = [OmegaConf.to_container(config[name], resolve=False) for name in READERS]
    references = " ".join(str(value) for node in nodes for _, value in leaves(node))
    chosen = str(config.strategy.get("_target_", "")).rpartition(".")[2]
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key == "strategy.second_objective" and config.get("objective") is not None:
            yield f"{override}: the run's objective takes its place; leave one of them out"
        group, _, setting = key.partition(".")
        readers = (config.get("strategy"), config.get("predictor"))
        if group == "proxy" and not (any(map(reads_scores, readers)) or config.get("floor")):
            yield f"{override}: {_no_proxy(config.strategy)}"
        if switch := _switch_that_is_off(config, group, setting):
            yield f"{override}: {switch}=false, so nothing reads {key}; type {switch}=true"
        if key == "evaluator.halving" and not _buys_labels(config.strategy):
            yield f"{override}: {chosen} buys no labels that could compete; leave it out"
        if key == "budget.label_epochs" and config.evaluator.get("halving") is None:
            yield (
                f"{override}: only labels of successive halving say their epochs; type "
                "evaluator.halving=3 (evaluator=table or train), or leave it out"
            )
        read_by_key = group in ("fitness", "population", "budget")
        if not (read_by_key or group == "predictor") or key in READ_BY_THE_ENGINE:
            continue
        wanted = "${predictor}" if not read_by_key else f"{group}." if key == group else key
        if wanted not in references:
            yield f"{override}: the strategy {chosen} never reads {key}; leave it out"


def _buys_labels(strategy: Mapping[str, Any]) -> bool:
    """Return whether a strategy asks for single labels, and not for scores on shared weights."""
    target = present(str(strategy.get("_target_")))
    return not (constant(target, "needs_alphas") or constant(target, "needs_weights"))


def reads_scores(node: Mapping[str, Any] | None) -> bool:
    """Return whether a setting of a plug-in asks for scores that need no training."""
    settings = {} if node is None else node
    texts = [str(value) for key, value in settings.items() if not str(key).startswith("_")]
    return any("zero_cost" in text for text in texts)


def _no_proxy(strategy: Mapping[str, Any]) -> str:
    """Say why a strategy reads no proxy, and what would make it."""
    name = str(strategy.get("_target_", "")).rpartition(".")[2]
    if "initial" not in strategy:
        return (
            f"the strategy {name} never reads proxy; leave it out, or type strategy=rank_by_proxy"
        )
    return (
        f"the strategy {name} reads proxy only with strategy.initial=zero_cost; type that too, or "
        "leave it out"
    )


def _switch_that_is_off(config: DictConfig, group: str, setting: str) -> str | None:
    """Return the key of what would have to be true for a setting of a plug-in to be read."""
    node = config.get(group) if group in PLUGINS else None
    if not isinstance(node, DictConfig):
        return None
    known = declared(present(str(node.get("_target_"))))
    if known is None or setting not in known.settings:
        return None
    switch = ranges.switch_of(known.settings[setting].hint)
    return f"{group}.{switch}" if switch is not None and node.get(switch) is False else None

"""Make objects from plug-in nodes; only here does a configuration name code.

A node is a mapping with a `_target_`. A configuration may come from a stranger's run folder and
must not be able to name `os.system`, so a target is a class or function that a plug-in module of
this package defines itself; `nasrun.runs.folder.os.system`, which that module only imports, is
none. Or it is one of a plug-in from outside that a person has typed or installed (`outside`).
Hydra's `instantiate` is not used: it follows interpolations and calls whatever they lead to.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from nasrun.config import outside, ranges
from nasrun.config.declarations import Declared, declared
from nasrun.config.renamed import present
from nasrun.config.schema import PluginNode
from nasrun.errors import Problem, UsageError, brief, closest, raise_together

ROOMS = {
    "dataset": "datasets",
    "space": "spaces",
    "strategy": "strategies",
    "evaluator": "evaluators",
    "predictor": "predictors",
    "proxy": "predictors.zero_cost",
    "objective": "objectives",
    "exporter": "exporters",
    "tracker": "trackers",
}
YOURS = f"those of a plug-in of your own are known with {outside.FLAG} MODULE"
OWN_KEYS = ("_target_", "_partial_")  # of a node; all others are keywords of its target


def build(node: Mapping[str, Any], *runtime: Any, **keywords: Any) -> Any:
    """Call the target of `node` with the objects that only exist at run time.

    A node inside it becomes a function that makes its object.

    Raises:
        UsageError: a target that is no plug-in of this package, or a node inside that its target
            does not take.
    """
    for name in targets(node):
        if not is_plugin(name):
            raise UsageError(f"_target_={brief(name)} is refused: {_allowed(ROOMS)}")
    return _partial(node)(*runtime, **keywords)


def _partial(node: Mapping[str, Any]) -> Any:
    """Return the target of `node` with its keywords, not called."""
    keywords = {key: value for key, value in node.items() if key not in OWN_KEYS}
    if isinstance(node, PluginNode):
        keywords |= node.places
    for key, value in keywords.items():
        if is_node(value):
            raise_together(faults(value, key))
            keywords[key] = _partial(value)
    called = target(node)
    known = declared(present(node["_target_"]))
    for name, record in (known.records if known is not None else {}).items():
        own = {item.name for item in fields(record)} & keywords.keys()
        keywords[name] = record(**{key: keywords.pop(key) for key in own})
    return functools.partial(called, **keywords)


def is_node(value: object) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def is_plugin(name: object, group: str | None = None) -> bool:
    """Return whether a target can be a plug-in: of one group, or of any."""
    rooms = "|".join(map(re.escape, [ROOMS[group]] if group in ROOMS else ROOMS.values()))
    return isinstance(name, str) and (
        bool(re.fullmatch(rf"nasrun\.({rooms})(\.[a-z]\w*)+\.[A-Za-z]\w*", name, re.ASCII))
        or outside.allows(name, group)
    )


def _allowed(groups: Iterator[str] | Mapping[str, str] | Sequence[str]) -> str:
    rooms = [f"nasrun.{ROOMS[group]}" for group in groups]
    return f"targets are classes and functions of {' or '.join(rooms)}"


def faults(node: object, where: str) -> Iterator[Problem]:
    """Yield a sentence for each key or value of a node that its target does not take.

    Nothing is imported for it: the declarations are read from the source.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        text = f"{where} needs a _target_: choose an option of the group, such as {where}=..."
        yield Problem(where, text)
        return
    refused = [name for name in targets(node) if not is_plugin(name)]
    if not refused and not is_plugin(node["_target_"], where):
        refused = [node["_target_"]]
    key = f"{where}._target_"
    if refused:
        groups = [where] if where in ROOMS else list(ROOMS)
        hint = "" if str(refused[0]).startswith("nasrun.") else f"; {YOURS}"
        yield Problem(key, f"{key}={brief(refused[0])} is refused: {_allowed(groups)}{hint}")
        return
    known = declared(present(node["_target_"]))
    if known is None:
        yield Problem(key, f"{key}={brief(node['_target_'])} does not exist")
    elif known.is_part:
        text = f"{key}={node['_target_']} is a part of other plug-ins, and none itself"
        yield Problem(key, text)
    else:
        yield from _wrong_settings(node, where, known)


def _wrong_settings(node: Mapping[str, Any], where: str, known: Declared) -> Iterator[Problem]:
    hints = {name: setting.hint for name, setting in known.settings.items()}
    typed_as = node.typed_as if isinstance(node, PluginNode) else {}

    def key_of(name: str) -> str:
        return typed_as.get(name, f"{where}.{name}")

    sound = {}
    for name, value in node.items():
        if name in OWN_KEYS:
            continue
        if name not in hints:
            text = f"{where}.{brief(name)} does not exist; {closest(brief(name), hints)}"
            yield Problem(f"{where}.{brief(name)}", text)
        elif wrong := ranges.problem(key_of(name), value, hints[name]):
            yield Problem(f"{where}.{name}", wrong)
        else:
            sound[name] = value
            if is_node(value) and name in ROOMS:
                yield from (Problem(f"{where}.{name}", one) for one in faults(value, name))
    yield from (Problem(*pair) for pair in ranges.relations(sound, hints, key_of))
    for name, setting in known.settings.items():
        if setting.required and name not in node:
            yield Problem(f"{where}.{name}", f"{where}.{name} is missing")


def with_settings(node: Mapping[str, Any], **settings: Any) -> PluginNode:
    """Copy a node, with other settings."""
    copy = PluginNode({**node, **settings})
    vars(copy).update(vars(node) if isinstance(node, PluginNode) else {})
    return copy


def option(node: Mapping[str, Any]) -> str:
    """Return the name of the choice behind a node: the option, or else what its module is called.

    Runs that began before options were recorded know the module alone.
    """
    chosen = node.option if isinstance(node, PluginNode) else None
    return chosen or str(node["_target_"]).split(".")[-2]


def target(node: Mapping[str, Any]) -> Any:
    """Return the class or function that a node names, not called."""
    found = _load(node["_target_"])
    if found is None:
        raise UsageError(f"_target_={brief(node['_target_'])} does not exist")
    return found


def not_installed(packages: Iterable[str]) -> list[str]:
    """List those of some packages that cannot be imported; nothing is."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def targets(node: object) -> Iterator[object]:
    """Yield all targets inside; they should be texts."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield value
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def _load(name: str) -> Any:
    """Return the class or function of this name from the plug-in module that defines it.

    It is `None` where there is none.
    """
    module_name, _, attribute = present(name).rpartition(".")
    try:
        found = vars(importlib.import_module(module_name)).get(attribute)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("nasrun."):
            raise  # a library that the plug-in needs
        return None
    is_code = inspect.isclass(found) or inspect.isfunction(found)
    return found if is_code and getattr(found, "__module__", None) == module_name else None


def import_all(names: Iterable[str]) -> None:
    """Import modules that a fork of this process has imported; it only saves time."""
    for name in names:
        if name not in sys.modules:
            # some names are aliases that cannot be imported, or warn
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)

"""Objects from plug-in nodes: the only place where a configuration names code.

A node is a mapping with a `_target_`. A configuration may come from a stranger's run folder and
must not be able to name `os.system`, so a target is a class or function that a plug-in module of
this package defines itself; `nasrun.runs.folder.os.system`, which that module only imports, is
none.
Hydra's `instantiate` is not used: it follows interpolations and calls whatever they lead to.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from nasrun.config.renamed import present
from nasrun.errors import UsageError, brief, closest, raise_together

ROOMS = {
    "dataset": "datasets",
    "space": "spaces",
    "strategy": "strategies",
    "evaluator": "evaluators",
    "predictor": "predictors",
}
OWN_KEYS = ("_target_", "_partial_")  # of a node; all others are keywords of its target
RUNTIME = {"self", "context", "generator"}  # what a plug-in is given besides its keywords


def build(node: Mapping[str, Any], *runtime: Any, **keywords: Any) -> Any:
    """Call the target of `node` with the objects that only exist at run time; a node inside it
    becomes what makes its object.

    Raises:
        UsageError: a target that is no plug-in of this package, or a node inside that its target
            does not take.
    """
    for name in _targets(node):
        if not is_plugin(name):
            raise UsageError(f"_target_={brief(name)} is refused: {_allowed(ROOMS)}")
    return _partial(node)(*runtime, **keywords)


def _partial(node: Mapping[str, Any]) -> Any:
    """The target of `node` with its keywords, not called."""
    keywords = {key: value for key, value in node.items() if key not in OWN_KEYS}
    for key, value in keywords.items():
        if is_node(value):
            raise_together(faults(value, key))
            keywords[key] = _partial(value)
    return functools.partial(target(node), **keywords)


def is_node(value: object) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def is_plugin(name: object, group: str | None = None) -> bool:
    """Whether a target can be a plug-in: of one group, or of any."""
    rooms = ROOMS[group] if group in ROOMS else "|".join(ROOMS.values())
    return isinstance(name, str) and bool(
        re.fullmatch(rf"nasrun\.({rooms})(\.[a-z]\w*)+\.[A-Za-z]\w*", name, re.ASCII)
    )


def _allowed(groups: Iterator[str] | Mapping[str, str] | Sequence[str]) -> str:
    rooms = [f"nasrun.{ROOMS[group]}" for group in groups]
    return f"targets are classes and functions of {' or '.join(rooms)}"


def faults(node: object, where: str) -> Iterator[str]:
    """One sentence for each key or value of a node that its target does not take."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        yield f"{where} needs a _target_: choose an option of the group, such as {where}=..."
        return
    refused = [name for name in _targets(node) if not is_plugin(name)]
    if not refused and not is_plugin(node["_target_"], where):
        refused = [node["_target_"]]
    if refused:
        groups = [where] if where in ROOMS else list(ROOMS)
        yield f"{where}._target_={brief(refused[0])} is refused: {_allowed(groups)}"
        return
    loaded = _load(node["_target_"])
    if loaded is None:
        yield f"{where}._target_={brief(node['_target_'])} does not exist"
        return
    function = loaded.__init__ if inspect.isclass(loaded) else loaded
    parameters = inspect.signature(function).parameters
    positional = [name for name, p in parameters.items() if _is_positional(p)]
    if not {*positional} <= RUNTIME or inspect.isabstract(loaded):
        yield f"{where}._target_={node['_target_']} is a part of other plug-ins, and none itself"
        return
    keywords = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    hints = typing.get_type_hints(function)
    for key, value in node.items():
        if key in OWN_KEYS:
            continue
        if key not in keywords:
            yield f"{where}.{brief(key)} does not exist; {closest(brief(key), keywords)}"
        elif not _fits(value, hints.get(key, Any)):
            yield f"{where}.{key}={brief(value)} must be {_describe(hints[key])}"
    for name in keywords:
        if parameters[name].default is inspect.Parameter.empty and name not in node:
            yield f"{where}.{name} is missing"


def option(node: Mapping[str, Any]) -> str:
    """The name of the choice behind a node: that of its module, by the rules of the house."""
    return str(node["_target_"]).split(".")[-2]


def target(node: Mapping[str, Any]) -> Any:
    """The class or function that a node names, not called."""
    found = _load(node["_target_"])
    if found is None:
        raise UsageError(f"_target_={brief(node['_target_'])} does not exist")
    return found


def _targets(node: object) -> Iterator[object]:
    """All targets inside; they should be texts."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield value
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _load(name: str) -> Any:
    """The class or function of this name in the plug-in module that defines it, if there is one."""
    module_name, _, attribute = present(name).rpartition(".")
    try:
        found = vars(importlib.import_module(module_name)).get(attribute)
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("nasrun."):
            raise  # a library that the plug-in needs
        return None
    is_code = inspect.isclass(found) or inspect.isfunction(found)
    return found if is_code and getattr(found, "__module__", None) == module_name else None


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not parameter.KEYWORD_ONLY and parameter.default is parameter.empty


def _fits(value: object, hint: Any) -> bool:
    """Whether a plain value from YAML suits a type hint of a constructor."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Callable:
        return is_node(value)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(v, arguments[0]) for v in value)
    return isinstance(value, hint) if inspect.isclass(hint) else True


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    if hint is type(None):
        return "null"
    if origin is Callable:
        return "an option of the group of that name"
    return names.get(hint) or ("a list" if origin else str(hint))


def import_all(names: Iterable[str]) -> None:
    """Import modules that a fork of this process has imported; it only saves time."""
    for name in names:
        if name not in sys.modules:
            # aliases of all kinds stand among them
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)

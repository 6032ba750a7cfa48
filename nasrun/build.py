"""Objects from plug-in nodes: the only caller of Hydra's `instantiate`.

A node is a mapping with a `_target_`, and every target must be in this package: a configuration
may come from a stranger's run folder, and must not be able to name `os.system`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from hydra.utils import get_object, instantiate

from nasrun.errors import UsageError, closest

ALLOWED_TARGETS = ("nasrun.",)


def build(node: Mapping[str, Any], *runtime: Any, **keywords: Any) -> Any:
    """Call the target of `node` with the objects that only exist at run time.

    Raises:
        UsageError: a target outside this package.
    """
    for name in _targets(node):
        if not name.startswith(ALLOWED_TARGETS):
            raise UsageError(f"_target_={name} is refused: targets begin with 'nasrun.'")
    # Partial first, then called in Python: Hydra would turn dataclass arguments into DictConfigs.
    partial = instantiate({**node, "_partial_": True}, _convert_="all")
    return partial(*runtime, **keywords)


def faults(node: object, where: str) -> Iterator[str]:
    """One sentence for each key or value of a node that its target does not take."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        yield f"{where} needs a _target_: choose an option of the group, such as {where}=..."
        return
    refused = [name for name in _targets(node) if not name.startswith(ALLOWED_TARGETS)]
    if refused:
        yield f"{where}._target_={refused[0]} is refused: targets begin with 'nasrun.'"
        return
    loaded = _load(node["_target_"])
    if loaded is None:
        yield f"{where}._target_={node['_target_']} does not exist"
        return
    function = loaded.__init__ if inspect.isclass(loaded) else loaded
    parameters = inspect.signature(function).parameters
    keywords = [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
    hints = typing.get_type_hints(function)
    for key, value in node.items():
        if key in ("_target_", "_partial_"):
            continue
        if key not in keywords:
            yield f"{where}.{key} does not exist; {closest(str(key), keywords)}"
        elif not isinstance(value, Mapping) and not _fits(value, hints.get(key, Any)):
            yield f"{where}.{key}={value} must be {_describe(hints[key])}"
    for name in keywords:
        if parameters[name].default is inspect.Parameter.empty and name not in node:
            yield f"{where}.{name} is missing"


def option(node: Mapping[str, Any]) -> str:
    """The name of the choice behind a node: that of its module, by the rules of the house."""
    return str(node["_target_"]).split(".")[-2]


def target(node: Mapping[str, Any]) -> Any:
    """The class or function that a checked node names, not called."""
    return get_object(node["_target_"])


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _load(name: str) -> Any:
    try:
        return get_object(name)
    except (ImportError, ValueError, TypeError, AttributeError):
        return None
    except Exception as error:  # Hydra wraps whatever the import raised
        if isinstance(error.__cause__, ImportError | AttributeError):
            return None
        raise


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
        return False  # made from a node, and a node is no plain value
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

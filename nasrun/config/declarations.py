"""Read what the settings of a plug-in can be from its source, without importing it.

A wrong value is told before torch is imported, which most plug-ins need. So the annotations of a
target are parsed, and evaluated over a small vocabulary: builtins, `typing`, and what
`nasrun.protocols.settings` offers. Nothing of the module itself is executed. A contract test
compares every declaration with the class or function at run time, so that both cannot part.
"""

from __future__ import annotations

import ast
import functools
import operator
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import annotated_types

from nasrun.config import outside
from nasrun.protocols import settings

PACKAGE = Path(__file__).resolve().parents[1]
RUNTIME = {
    "self",
    "context",
    "generator",
    "networks",
    "untrained",
}  # what a plug-in is given besides its settings
NAMES: Mapping[str, Any] = {
    **{kind.__name__: kind for kind in (int, float, bool, str, list, tuple)},
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "Literal")},
    "Callable": Callable,
    "Sequence": Sequence,
    "Mapping": Mapping,
}


@dataclass(frozen=True)
class Setting:
    """One keyword of a plug-in. `hint` is a type, with its range as `Annotated`."""

    hint: Any
    required: bool


@dataclass(frozen=True)
class Declared:
    """What a target takes. A part of other plug-ins cannot be a target itself."""

    settings: Mapping[str, Setting]
    is_part: bool
    records: Mapping[str, type] = field(default_factory=dict)
    """Keyword -> the record that is its value, made from keys that stand beside it."""


@functools.cache
def declared(target: str) -> Declared | None:
    """Return the settings of a class or function of this package, or of a plug-in from outside.

    `None` where there is none.
    """
    module, _, name = target.rpartition(".")
    tree = _tree(module)
    found = None if tree is None else _definition(tree, name)
    if found is None:
        return None
    if isinstance(found, ast.FunctionDef):
        return _with_records(_arguments(found, module), not _runtime_only(found))
    return _of_class(found, module) if isinstance(found, ast.ClassDef) else None


def constant(target: str, *names: str) -> Any:
    """Return what a class says in an attribute, itself or by a base; `None` where nobody does.

    Only plain values are known, and other classes: of several names, each but the last is that of
    an attribute which is a class, and the next one is looked up there.
    """
    found = _attribute(target, names[0])
    if found is None:
        return None
    value, module = found
    if len(names) > 1:
        return constant(".".join(_origin(ast.unparse(value), module)), *names[1:])
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None


@functools.cache
def _attribute(target: str, name: str) -> tuple[ast.expr, str] | None:
    """Return the value of a class attribute, and the module that says it."""
    module, _, kind = target.rpartition(".")
    tree = _tree(module)
    node = None if tree is None else _definition(tree, kind)
    if not isinstance(node, ast.ClassDef):
        return None
    for part in node.body:
        targets = part.targets if isinstance(part, ast.Assign) else []
        targets = [part.target] if isinstance(part, ast.AnnAssign) else targets
        if name in map(ast.unparse, targets):
            assert isinstance(part, ast.Assign | ast.AnnAssign)
            if part.value is not None:
                return part.value, module
    bases = (".".join(_origin(ast.unparse(base), module)) for base in node.bases)
    return next((found for base in bases if (found := _attribute(base, name))), None)


def summary(module: str) -> str:
    """Return the first sentence of a module's or room's docstring, without the full stop."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).rstrip(".")


def _of_class(node: ast.ClassDef, module: str) -> Declared:
    """Return the settings in the order in which people read them: those of the bases first."""
    abstract = any("abstractmethod" in ast.unparse(part) for part in _decorators(node))
    own = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    if "__init__" in own:
        init = own["__init__"]
        return _with_records(_arguments(init, module), abstract or not _runtime_only(init))
    found: dict[str, Setting] = {}
    records: dict[str, type] = {}
    for base in node.bases:
        where, name = _origin(ast.unparse(base), module)
        inherited = declared(f"{where}.{name}") if _is_ours(where) else None
        if inherited is not None and not where.startswith("nasrun.protocols."):
            found |= inherited.settings
            records |= inherited.records
    if any(ast.unparse(one) == "plugin" for one in node.decorator_list):
        own_fields = _with_records(_fields(node, module), abstract)
        found |= own_fields.settings
        records |= own_fields.records
    return Declared(found, abstract, records)


def _with_records(settings_of: Iterator[tuple[str, Setting]], is_part: bool) -> Declared:
    """Put the fields of each record in the place of the record."""
    found: dict[str, Setting] = {}
    records: dict[str, type] = {}
    for name, setting in settings_of:
        if is_dataclass(setting.hint):
            assert isinstance(setting.hint, type)
            records[name] = setting.hint
            hints = typing.get_type_hints(setting.hint, include_extras=True)
            found |= {item.name: Setting(hints[item.name], True) for item in fields(setting.hint)}
        else:
            found[name] = setting
    return Declared(found, is_part, records)


def _decorators(node: ast.ClassDef) -> Iterator[ast.expr]:
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            yield from part.decorator_list


def _runtime_only(function: ast.FunctionDef) -> bool:
    """Return whether all that is given by place are objects of the run."""
    places = [*function.args.posonlyargs, *function.args.args]
    needed = places[: len(places) - len(function.args.defaults)]
    return {argument.arg for argument in needed} <= RUNTIME


def _arguments(function: ast.FunctionDef, module: str) -> Iterator[tuple[str, Setting]]:
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    for argument, default in pairs:
        yield argument.arg, _setting(argument.annotation, default is None, module)


def _fields(node: ast.ClassDef, module: str) -> Iterator[tuple[str, Setting]]:
    """Yield the attributes of a `plugin` that its constructor takes by name."""
    for part in node.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        text, value = ast.unparse(part.annotation), part.value and ast.unparse(part.value)
        given = part.target.id not in RUNTIME and not text.startswith("ClassVar")
        if given and "init=False" not in (value or ""):
            yield part.target.id, _setting(part.annotation, part.value is None, module)


def _setting(annotation: ast.expr | None, required: bool, module: str) -> Setting:
    return Setting(Any if annotation is None else _evaluated(annotation, module), required)


def _evaluated(node: ast.expr, module: str) -> Any:
    """Return an annotation as an object of `typing`; `Any` for what is not in the vocabulary."""
    if isinstance(node, ast.Constant):
        return type(None) if node.value is None else node.value
    if isinstance(node, ast.Name):
        return _named(node.id, module)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = (_evaluated(node.left, module), _evaluated(node.right, module))
        return typing.Union[sides]  # noqa: UP007 - a union of values, not of annotations
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return operator.neg(_evaluated(node.operand, module))
    if isinstance(node, ast.Subscript):
        kind = _evaluated(node.value, module)
        if kind is Callable:
            return Callable
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        values = tuple(_evaluated(part, module) for part in parts)
        return Any if kind is Any else kind[values if len(values) > 1 else values[0]]
    if isinstance(node, ast.Call):  # a range, such as Ge(0)
        kind = _evaluated(node.func, module)
        words = {word.arg: _evaluated(word.value, module) for word in node.keywords if word.arg}
        return Any if kind is Any else kind(*(_evaluated(a, module) for a in node.args), **words)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _evaluated(node.left, module) ** _evaluated(node.right, module)
    return Any


def _named(name: str, module: str) -> Any:
    """Return what a name in a module stands for."""
    if name in NAMES:
        return NAMES[name]
    where, original = _origin(name, module)
    if where == settings.__name__:
        return getattr(settings, original)
    if where == "annotated_types":
        return getattr(annotated_types, original)
    tree = _tree(where) if _is_ours(where) else None
    found = None if tree is None else _definition(tree, original)
    if isinstance(found, ast.Assign | ast.AnnAssign) and found.value is not None:
        return _evaluated(found.value, where)
    return Any


def _origin(name: str, module: str) -> tuple[str, str]:
    """Return the module that defines a name, and what it is called there."""
    tree = _tree(module)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _absolute(node, module), alias.name
    return module, name


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """Return the module that is imported from, also where it is named relative to another one."""
    if not node.level:
        return node.module or ""
    path = outside.source(module)
    own = 1 if path is not None and path.stem == "__init__" else 0
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + own]
    return ".".join([*kept, *filter(None, [node.module])])


def _is_ours(module: str) -> bool:
    return module.startswith("nasrun.") or outside.owner(module) is not None


def _definition(
    tree: ast.Module, name: str
) -> ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign | None:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if name in map(ast.unparse, targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node
    return None


@functools.cache
def _tree(module: str) -> ast.Module | None:
    """Return the parsed source of a module that is ours, or of a plug-in; `None` for others."""
    first, *parts = module.split(".")
    path = PACKAGE.joinpath(*parts).with_suffix(".py") if parts else None
    path = path if first == "nasrun" else outside.source(module)
    if path is None or not path.is_file():
        return None
    return ast.parse(path.read_text(encoding="utf-8"))

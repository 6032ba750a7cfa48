"""What every option of every group promises: a gloss, a composition, settings read from source."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from nasrun.config import catalogue, plugins
from nasrun.config.checks import all_faults
from nasrun.config.compose import to_typed
from nasrun.config.declarations import RUNTIME, declared
from nasrun.config.matching import mismatches
from nasrun.config.schema import SearchConfig
from nasrun.testing.contract import Contract, composed

LONGEST_GLOSS = 100  # characters


class OptionContract(Contract):
    """An option composes, says what it is, and has the settings that its source declares."""

    def test_it_composes_into_a_configuration_that_the_program_accepts(self, name: str) -> None:
        """Whether it goes with the default options of the other groups is another question."""
        typed = to_typed(composed([f"{self.group}={name}"]), SearchConfig)
        apart = set(mismatches(typed))
        assert [text for text in all_faults(typed) if text not in apart] == []

    def test_it_says_what_it_is(self, name: str) -> None:
        require_gloss(self.group, name)

    def test_what_is_read_from_the_source_is_what_runs(self, name: str) -> None:
        require_declared(composed([f"{self.group}={name}"])[self.group]["_target_"])


def require_gloss(group: str, option: str) -> None:
    """Assert that the first comment of the file can stand in a list."""
    path = catalogue.file(catalogue.conf_dir(), group, option)
    lines = path.read_text(encoding="utf-8").splitlines()
    gloss = next(line for line in lines if not line.startswith("# @package"))
    assert gloss.startswith("# ")
    assert 10 < len(gloss) <= LONGEST_GLOSS


def require_declared(target: str) -> None:
    """Assert that the declarations of a class are those that Python sees at run time."""
    known = declared(target)
    assert known is not None
    expected = at_run_time(target)
    assert known.settings.keys() == expected.keys()
    for name, hint in expected.items():
        if "Callable" not in str(hint):  # whose arguments no configuration can get wrong
            assert _plain(known.settings[name].hint) == _plain(hint), name


def at_run_time(target: str) -> dict[str, Any]:
    """Return keyword -> annotation, as Python sees them; a record is replaced by its fields."""
    kind = plugins.target({"_target_": target})
    if is_dataclass(kind):
        own = [item.name for item in fields(kind) if item.init and item.name not in RUNTIME]
        hints = {name: _hint_of(kind, name) for name in own}
    else:
        function = kind.__init__ if inspect.isclass(kind) else kind
        kinds = inspect.signature(function).parameters.values()
        own = [one.name for one in kinds if one.kind is inspect.Parameter.KEYWORD_ONLY]
        hints = typing.get_type_hints(function, include_extras=True)
    found: dict[str, Any] = {}
    for name in own:
        if is_dataclass(hints[name]):
            found |= typing.get_type_hints(hints[name], include_extras=True)
        else:
            found[name] = hints[name]
    return found


def _plain(hint: Any) -> str:
    """Write a hint as a text, in which both ways to write an optional type are one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(map(_plain, typing.get_args(hint)))
    return str(hint)


def _hint_of(kind: Any, name: str) -> Any:
    """Return one annotation; those beside it may name what only type checkers import."""
    owner = next(one for one in kind.__mro__ if name in vars(one).get("__annotations__", {}))
    one = type(owner.__name__, (), {"__annotations__": {name: owner.__annotations__[name]}})
    names = vars(sys.modules[owner.__module__])
    return typing.get_type_hints(one, globalns=names, include_extras=True)[name]

"""Explain a key, an option or a group of `conf/`, from files alone: neither torch nor Hydra.

What it is stands in the comments of the YAML files, what it can be in the annotations of its
plug-in or of the schema, and who reads it in the values that refer to it.
"""

from __future__ import annotations

import difflib
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasrun.config import catalogue, ranges, schema, suggestions
from nasrun.config.catalogue import Composition, Option
from nasrun.config.declarations import declared
from nasrun.errors import UsageError, closest, enumerated
from nasrun.terminal.columns import columns

PAPER = re.compile(r"\bpaper: (?P<value>[^;()]*[^;() ])")
LINE = re.compile(r"^( *)(\w+):(.*)$", re.MULTILINE)  # of a YAML file: indentation, key, the rest
PRIMARIES = ("search", "retrain")  # configurations of conf/
MOST_TYPED = 70  # characters of a key and its value
SHOWN_READERS = 6  # names in a sentence; further ones are counted
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Explanation:
    """A heading, facts by name, and tables of names and texts under headings."""

    title: str
    facts: Rows
    tables: Mapping[str, Rows] = field(default_factory=dict)

    def lines(self, width: int) -> list[str]:
        """Write it in lines of at most `width` columns."""
        lines = textwrap.wrap(self.title, width, break_on_hyphens=False)
        lines += columns(self.facts, width)
        for heading, rows in self.tables.items():
            if rows:
                lines += ["", f"{heading}:", *columns(rows, width)]
        return lines


def explain(word: str, root: Path) -> Explanation:
    """Explain what a word stands for: a group, `group=option`, a key, or the last part of one.

    Raises:
        UsageError: there is nothing of that name; it says what is close.
    """
    groups = catalogue.groups(root)
    name, equals, value = word.lstrip("+~").partition("=")
    if name in groups:
        return _option(name, value, root) if equals and value else _group(name, root)
    known = all_keys(root)
    if name in known.keys:
        return _key(name, known, root)
    meant = [key for key in known.keys if key.rpartition(".")[2] == name]
    every = [(path.parent.name, path.stem) for path in catalogue.files(root, "*/*.yaml")
             if path.parent.name in groups]  # fmt: skip
    options = [pair for pair in every if pair[1] == name]
    if len(meant) + len(options) == 1:
        return _key(meant[0], known, root) if meant else _option(*options[0], root)
    if options or meant:
        several = [*(f"{group}={option}" for group, option in options), *meant]
        raise UsageError(f"{name} can be {enumerated(sorted(several), 'or')}: type one of them")
    hint = _hint(name, known, every)
    raise UsageError(f"there is no key, option or group '{name}'; {hint}")


def _hint(name: str, known: Composition, options: Sequence[tuple[str, str]]) -> str:
    """Say what could be meant by a word that nothing is called."""
    group, _, last = name.partition(".")
    own = [key for key in known.keys if key.startswith(f"{group}.")]
    if last and own:
        return closest(name, own)
    words = [*known.choices, *(option for _, option in options)]
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.75)
    if not close or close[0] in known.choices:
        return suggestions.for_key(name, known)
    meant = [f"{group}={option}" for group, option in options if option == close[0]]
    return f"did you mean {enumerated(meant, 'or')}?"


# -- groups and options


def _group(group: str, root: Path) -> Explanation:
    choices = _defaults(root).choices
    default = choices.get(group)
    facts = []
    if group in choices:
        facts.append(("type", f"nasrun {_command_of(group, root)} {group}=OPTION"))
        facts.append(("default", default or "none"))
    keys = {key: _can_be(key, _target(group, default or "", root)) for key in all_keys(root).keys
            if key.startswith(f"{group}.")} if group in schema.PARTS else {}  # fmt: skip
    rows = [(option.label, option.gloss) for option in catalogue.options(group, root)]
    return Explanation(f"{group}: a group", facts, {"options": rows, "keys": [*keys.items()]})


def _option(group: str, name: str, root: Path) -> Explanation:
    """Explain an option by its gloss, its class, what it chooses, and its keys."""
    options = {option.name: option for option in catalogue.options(group, root)}
    if name not in options:
        raise UsageError(f"there is no {group}={name}; {closest(name, options)}")
    option = options[name]
    command = _command_of(group, root)
    choices = _defaults(root).choices
    facts = [("type", f"nasrun {command} {group}={name}")] if group in choices else []
    if choices.get(group) == name:
        facts.append(("default", f"it is, for nasrun {command}"))
    if option.is_variant:
        facts.append(("extends", f"{group}={option.root}"))
    own = catalogue.own(group, name, root)
    if own.choices:
        facts.append(("chooses", ", ".join(f"{key}={one}" for key, one in own.choices.items())))
    target = _target(group, name, root)
    if target:
        facts.append(("code", _file(target)))
    variants = [f"{group}={one.name}" for one in options.values()
                if one.is_variant and one.root == name]  # fmt: skip
    if variants:
        facts.append(("variants", ", ".join(variants)))
    composed = catalogue.compose(command, root, {group: name})
    if group not in composed.choices:
        composed = own
    rows = [
        _with_value(key, value, composed.glosses.get(key, ""), _can_be(key, target))
        for key, value in composed.keys.items()
        if key.startswith(f"{group}.")
    ]
    return Explanation(f"{group}={name}: {option.gloss}", facts, {"keys": rows})


# -- keys


def _key(key: str, known: Composition, root: Path) -> Explanation:
    """Explain a key by what it is and can be, its values in each option, and who reads it."""
    group = key.partition(".")[0]
    defaults = _defaults(root)
    setters = {} if "." not in key else dict(_setters(key, root))
    in_default = key in defaults.keys
    first = next(iter(setters), None)
    if in_default and group in defaults.choices:
        chosen = defaults.choices[group]
        first = next((one for one in setters if one.name == chosen), first)
    gloss = defaults.glosses.get(key) or (setters[first][1] if first else known.glosses.get(key))
    target = _target(group, first.name, root) if first else ""
    facts: Rows = [("can be", _can_be(key, target))]
    value = defaults.keys[key] if in_default else setters[first][0] if first else known.keys[key]
    where = f" (with {group}={first.name})" if first else ""
    facts.append(("default", "none: it must be typed" if value == "???" else
                  f"{written(value)}{where}"))  # fmt: skip
    others = re.findall(r"\$\{(?:\w+:)?(?:\$\{)?([\w.]+\.\w+)\}", str(value))
    if others:
        facts.append(("instead", f"type {enumerated(others)}, whose value it takes"))
    if paper := PAPER.search(gloss or ""):
        facts.append(("paper", paper["value"]))
    choice = "" if in_default or not first else f"{group}={first.name} "
    command = _command_of(key, root)
    facts.append(("type", f"nasrun {command} {choice}{key}=..."))
    facts.append(("read by", _readers(key, target, root)))
    rows = [
        (f"{group}={one.name}", _about(written(its_value), "" if its_gloss == gloss else its_gloss))
        for one, (its_value, its_gloss) in setters.items()
    ]
    return Explanation(f"{key}: {gloss or 'without a comment'}",
                       [fact for fact in facts if fact[1]], {"set by": rows})  # fmt: skip


def _setters(key: str, root: Path) -> Iterator[tuple[Option, tuple[Any, str]]]:
    """Yield the options that set a key themselves, each with its value and comment there."""
    group, _, rest = key.partition(".")
    first = re.compile(rf"^ *{re.escape(rest.rpartition('.')[2])}:", re.MULTILINE)
    for path in catalogue.files(root, f"{group}/*.yaml"):
        if first.search(path.read_text(encoding="utf-8")):
            own = catalogue.own(group, path.stem, root)
            if key in own.keys:
                option = Option(group, path.stem, "", path.stem)
                yield option, (own.keys[key], own.glosses.get(key, ""))


def _readers(key: str, target: str, root: Path) -> str:
    """Say which keys take the value of this one, and which code it is a setting of."""
    found: dict[str, list[str]] = {}
    for path in catalogue.files(root, "*/*.yaml"):
        for _, name, value in LINE.findall(path.read_text(encoding="utf-8")):
            if f"${{{key}}}" in value:
                found.setdefault(f"{path.parent.name}.{name}", []).append(path.stem)
    texts = [_file(target)] if target else []
    for reader, names in found.items():
        more = [f"{len(names) - SHOWN_READERS} more"] if len(names) > SHOWN_READERS else []
        texts.append(f"{reader} of {enumerated([*names[:SHOWN_READERS], *more])}")
    if "." not in key or not texts:
        having = [one for one in PRIMARIES if key in catalogue.compose(one, root).keys]
        texts.insert(0, f"nasrun {enumerated(having)}")
    return "; ".join(texts)


def _can_be(key: str, target: str) -> str:
    """Write type, range and unit of a key; empty where nothing is declared."""
    hint = _hint_of(key, target)
    return "" if hint is None else ranges.declaration(hint)


def choices(key: str, chosen: Mapping[str, str | None], root: Path) -> list[str]:
    """List the words that the value of a key can be, with the options that are chosen."""
    group = key.partition(".")[0]
    hint = _hint_of(key, _target(group, chosen.get(group) or "", root))
    return [] if hint is None else ranges.choices(hint)


def _hint_of(key: str, target: str) -> Any:
    """Return the declared type of a key; `None` where there is none."""
    group, _, name = key.partition(".")
    known = declared(target) if target else None
    if known is not None:
        return known.settings[name].hint if name in known.settings else None
    return _hints(group).get(name) if name else _hints("").get(group)


def _hints(part: str) -> Mapping[str, Any]:
    if not part:
        both = (schema.RetrainCommandConfig, schema.SearchConfig)
        return {k: v for one in both for k, v in _typed(one).items()}
    return _typed(schema.PARTS[part]) if part in schema.PARTS else {}


def _typed(kind: type) -> Mapping[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


# -- what `conf/` holds


def _defaults(root: Path) -> Composition:
    """Return what is composed by default: a search, and what only a retraining has."""
    search, retrain = (catalogue.compose(name, root) for name in PRIMARIES)
    return Composition(
        retrain.keys | search.keys,
        retrain.glosses | search.glosses,
        retrain.choices | search.choices,
    )


def all_keys(root: Path) -> Composition:
    """Return the keys of all options, whichever are chosen; values are of no use but for defaults.

    Files are read line by line: to parse all of them takes longer than a person waits.
    """
    known = _defaults(root)
    for path in catalogue.files(root, "*/*.yaml"):
        group = path.parent.name
        if group in catalogue.HIDDEN_GROUPS or group == "experiment":
            continue
        above: dict[int, str] = {}
        lines = LINE.findall(path.read_text(encoding="utf-8"))
        for number, (indent, name, rest) in enumerate(lines):
            above = {depth: one for depth, one in above.items() if depth < len(indent)}
            above[len(indent)] = name
            following = lines[number + 1][0] if number + 1 < len(lines) else ""
            is_node = len(following) > len(indent)
            if not is_node and not any(
                one.startswith("_") or one in ("defaults", "override") for one in above.values()
            ):
                key = ".".join([group, *above.values()])
                known.keys.setdefault(key, None)
                known.glosses.setdefault(key, rest.partition("# ")[2].strip())
    for group in (*catalogue.groups(root), "defaults"):
        known.keys.pop(group, None)
    return known


def _command_of(name: str, root: Path) -> str:
    """Return the command whose configuration has a group or a key: search, unless only another."""
    group = name.partition(".")[0]
    search = catalogue.compose("search", root)
    return "search" if group in search.choices or name in search.keys else "retrain"


def _target(group: str, option: str, root: Path) -> str:
    """Return the class of an option, or of the option that it extends; empty for none."""
    found = {one.name: one.root for one in catalogue.options(group, root)}
    return str(catalogue.content(group, found.get(option, option), root).get("_target_", ""))


def _file(target: str) -> str:
    module, _, name = target.rpartition(".")
    return f"{name}, {module.replace('.', '/')}.py"


def _with_value(key: str, value: object, *texts: str) -> tuple[str, str]:
    """Return a key as it is typed, and what is said of it; a long value is part of that."""
    text = written(value)
    is_long = len(key) + len(text) > MOST_TYPED
    return (key, _about(text, *texts)) if is_long else (f"{key}={text}", _about(*texts))


def _about(*texts: str) -> str:
    return "; ".join(filter(None, texts))


def written(value: object) -> str:
    """Write a value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Guess what a word on the command line was meant for, from the keys and options of `conf/`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from nasrun.config import catalogue
from nasrun.config.commands import COMMANDS
from nasrun.errors import closest

MOST = 4  # suggestions


def for_key(name: str, known: catalogue.Composition) -> str:
    """Hint at what a key could be that does not exist.

    Most people leave out where a key stands (`lr`, `epochs`), or type the symbol of a paper
    (`lambda`), so the last parts of keys count, their initials, and then what is said of them.

    >>> keys = {"seed": 0, "retrain.learning_rate": 0.1, "population.size": 8}
    >>> known = catalogue.Composition(keys, {"population.size": "lambda; paper: 25"})
    >>> for_key("lr", known), for_key("lambda", known)
    ('did you mean retrain.learning_rate?', 'did you mean population.size?')
    """
    last = name.rpartition(".")[2].casefold()
    parts = {key: key.rpartition(".")[2].casefold() for key in known.keys}
    first_level = {*known.choices, *(key for key in known.keys if "." not in key)}
    close = difflib.get_close_matches(last, sorted({*parts.values()}), n=2, cutoff=0.75)
    for found in (
        [key for key, part in parts.items() if part == last],
        [key for key, part in parts.items() if _initials(part) == last],
        difflib.get_close_matches(last, sorted(first_level), n=2, cutoff=0.75),
        [key for key, part in parts.items() if part in close],
        [key for key, part in parts.items() if last in part.split("_")],
        [
            key
            for key in parts
            if len(last) > 3 and re.search(rf"\b{re.escape(last)}\b", known.glosses.get(key, ""))
        ],
    ):
        if found:
            return f"did you mean {' or '.join(found[:MOST])}?"
    return closest(name, first_level)


def _initials(part: str) -> str:
    return "".join(word[:1] for word in part.split("_"))


def for_number(word: str, known: catalogue.Composition, root: Path) -> str:
    """Say what to type where a group was given a number: one of its keys takes it."""
    group, _, value = word.partition("=")
    options = ", ".join(option.name for option in catalogue.options(group, root))
    keys = [key for key in known.keys if key.startswith(f"{group}.")]
    numbers = [key for key in keys if isinstance(known.keys[key], int | float) or "${" in
               str(known.keys[key]) or known.keys[key] is None]  # fmt: skip
    advice = f": type {numbers[0]}={value}" if numbers else ""
    return f"{word}: {group} takes the name of an option ({options}){advice}"


def of_other_command(name: str, command: str, root: Path) -> str:
    """Return the command whose primary config has a key that this one lacks; empty for none."""
    others = {about.config: other for other, about in COMMANDS.items() if about.config}
    for config, other in others.items():
        known = catalogue.compose(config, root)
        if config != COMMANDS[command].config and (name in known.keys or name in known.choices):
            return other
    return ""


def for_flag(name: str, words: Sequence[str], root: Path) -> str:
    """Say how a key or group is typed that was written as a flag; empty where it is none.

    `words` are what follows the flag on the command line.
    """
    key, _, value = name.lstrip("-").partition("=")
    key = key.replace("-", "_")
    known = catalogue.compose("search", root)
    if key not in known.choices and key not in known.keys:
        return ""
    value = value or next((word for word in words[:1] if not word.startswith("-")), "...")
    return f"{name.partition('=')[0]} is no flag: type {key}={value}"

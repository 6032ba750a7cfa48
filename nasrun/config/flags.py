"""Check the command-line flags of the Hydra commands, and move them before the overrides.

Hydra 1.3.8 hands its arguments to argparse, which refuses a flag between two overrides
(facebookresearch/hydra#3053). Only documented flags pass: `--experimental-rerun`, for one, would
unpickle a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nasrun.config import catalogue, suggestions
from nasrun.errors import UsageError, closest
from nasrun.genotypes.text import is_text

DIR, RUN = "DIR", "RUN"  # placeholders of values that are folders


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag; `value` is its placeholder in help texts, empty for a flag without a value."""

    long: str
    short: str
    gloss: str
    value: str = ""
    allowed: tuple[str, ...] = ()
    mode: bool = False  # a command line has at most one flag that is a mode


FLAGS = (
    Flag("--multirun", "-m", "sweep: run every combination of comma-separated values", mode=True),
    Flag("--from", "", "repeat RUN, a run folder: its settings, then the overrides", RUN),
    Flag(
        "--cfg",
        "-c",
        "print the composed config, run nothing",
        "job",
        ("job", "hydra", "all"),
        True,
    ),
    Flag("--resolve", "", "with --cfg: insert the values that ${...} stands for"),
    Flag("--package", "-p", "with --cfg: only this node, such as strategy", "NODE"),
    Flag("--comments", "", "with --cfg: what each key is, as the files of conf/ say"),
    Flag("--config-dir", "-cd", "a folder with your own groups and options", DIR),
    Flag("--plugin", "", "a module of your own that brings options; its code is run", "MODULE"),
    Flag("--config-path", "-cp", "another conf folder in place of the built-in one", DIR),
    Flag("--config-name", "-cn", "another primary config", "NAME"),
    Flag(
        "--info",
        "-i",
        "what Hydra knows: defaults, search path, plug-ins",
        "all",
        ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        True,
    ),
    Flag("--run", "-r", "run one job (the default)", mode=True),
    Flag("--hydra-help", "", "the help of Hydra itself"),
)
PLAIN = re.compile(r"[\w./:+*-]*", re.ASCII)  # values that Hydra takes as they are
_BY_NAME = {name: flag for flag in FLAGS for name in (flag.long, flag.short) if name}


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the same arguments, flags (in their long form, with values) before overrides.

    Raises `UsageError` for an unknown flag, a missing or impossible value, and for flags that
    exclude each other.
    """
    flags: dict[str, str] = {}
    overrides: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            overrides.append(quoted(word))
            continue
        name, has_value, value = word.partition("=")
        flag = _BY_NAME.get(name)
        if flag is None:
            meant = suggestions.for_flag(word, waiting, catalogue.conf_dir())
            if meant:
                raise UsageError(meant)
            raise UsageError(f"unknown flag {name}: {closest(name, [flag.long for flag in FLAGS])}")
        if flag.value and not has_value:
            value = _next_value(flag, waiting)
        elif has_value and not flag.value:
            raise UsageError(f"{flag.long} takes no value, but got '{value}'")
        if flag.value in (DIR, RUN):
            value = os.path.expanduser(value)  # the shell leaves --from=~/run as it is
        if flag.allowed and value not in flag.allowed:
            raise UsageError(f"{flag.long} {value}: choose from {', '.join(flag.allowed)}")
        flags[flag.long] = value
    _check_together(flags)
    # One word per flag: the value of --info is optional, it would swallow the first override.
    return [f"{name}={value}" if value else name for name, value in flags.items()] + overrides


def quoted(override: str) -> str:
    """Quote an override as Hydra's grammar wants it.

    What the grammar cannot read as a value is a text, such as a path with a letter that is not
    ASCII.
    A genotype is full of brackets, commas and quotes, and nobody should have to quote it twice.
    """
    key, _, value = override.partition("=")
    if not key:
        raise UsageError(f"'{override}' is not understood: overrides are key=value")
    if key.startswith("hydra.") and value.startswith("~"):  # of Hydra, which knows no home
        value = os.path.expanduser(value)
    in_quotes_already = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    if in_quotes_already or PLAIN.fullmatch(value):
        return f"{key}={value}" if "=" in override else override
    if (key == "genotype" and is_text(value)) or os.path.exists(os.path.expanduser(value)):
        return f"{key}={in_quotes(value)}"
    if value[0] in "[{'\"" or re.match(r"\w+\(", value) or _is_understood(f"{key}={value}"):
        return f"{key}={value}"
    parts = [one if _is_understood(f"{key}={one}") else in_quotes(one) for one in value.split(",")]
    return f"{key}={','.join(parts)}"


def _is_understood(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def in_quotes(text: str) -> str:
    """Quote a text so that Hydra's grammar reads it back, whatever is in it."""
    # backslashes count only before a quote
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", r"\'"), text)
    return f"'{escaped}'"


def _next_value(flag: Flag, waiting: list[str]) -> str:
    """Take the value that follows a flag from `waiting`."""
    if flag.long == "--info" and (not waiting or waiting[0] not in flag.allowed):
        return flag.value
    if not waiting or waiting[0].startswith("-"):
        choices = f": {', '.join(flag.allowed)}" if flag.allowed else ""
        raise UsageError(f"{flag.long} needs a value{choices}")
    return waiting.pop(0)


def _check_together(flags: dict[str, str]) -> None:
    modes = [flag.long for flag in FLAGS if flag.mode and flag.long in flags]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(modes)} exclude each other: choose one")
    for name in ("--resolve", "--package", "--comments"):
        if name in flags and "--cfg" not in flags:
            raise UsageError(f"{name} goes with --cfg job")

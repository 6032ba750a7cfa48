"""Render help pages from `conf/` and the list of commands, without Hydra and without torch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from nasrun.config import catalogue
from nasrun.config.commands import COMMANDS, CommandHelp
from nasrun.config.explanations import explain
from nasrun.config.flags import FLAGS, RUN, Flag
from nasrun.errors import UsageError
from nasrun.terminal.columns import columns

WIDTH = 80


def overview() -> str:
    """Return what `nasrun` alone prints."""
    commands = [(name, command.purpose) for name, command in COMMANDS.items()]
    examples = [
        ("nasrun search strategy=egnas", "on real digits"),
        ("nasrun search -m fitness.zeta=0.4,1.0 seed=0,1,2", "six runs, a table"),
        ("nasrun list strategies", "what can be chosen"),
    ]
    return "\n".join(
        [
            "nasrun: neural architecture search from the command line",
            "",
            "Usage: nasrun COMMAND [arguments] | nasrun COMMAND --help | nasrun --version",
            "",
            "Commands:",
            *columns(commands, WIDTH),
            "",
            "Examples:",
            *_examples(examples),
            "",
            "Runs are written to outputs/<date>/<time>-<space>-<strategy>-s<seed>/.",
            'TAB completion: eval "$(nasrun -sc install=bash)"',
        ]
    )


def page(command: str, root: Path, words: Sequence[str] = ()) -> str:
    """Return what `nasrun COMMAND --help` prints, at most 80 columns wide.

    Args:
        root: the conf folder.
        words: others on the command line. The page follows those that choose an option or set a
            key: `strategy=dclenas` lists the keys of that strategy.
    """
    about = COMMANDS[command]
    asked = [one for word in words for one in _asked(word, root)] if about.config else []
    if asked:
        lines = [f"nasrun {command}: {about.purpose}"]
        for word in dict.fromkeys(asked):
            lines += ["", *_explained(word, root)]
        return "\n".join([*lines, "", f"Groups, flags and examples: nasrun {command} --help"])
    lines = [f"nasrun {command}: {about.purpose}", "", f"Usage: {about.usage}", "", "Examples:"]
    lines += _examples(about.examples)
    paragraphs = about.details.split("\n\n") if about.details else []
    for paragraph in [*paragraphs, *(about.more(root) if about.more else ())]:
        lines += ["", *textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False)]
    if about.config:
        lines += _choices(about, root)
        lines += ["", "Flags:"]
        lines += columns([(_flag_name(flag), flag.gloss) for flag in FLAGS[:7]], WIDTH)
        option = "strategy=dclenas" if about.config == "search" else "dataset=cifar10"
        more = (
            f"Keys of an option: nasrun {command} {option} --help. One key: nasrun explain "
            f"KEY. Every key and its value: nasrun {command} --cfg job. Choices of a group: nasrun "
            f"list GROUP. Comments: --cfg job --comments, or the files in {root}"
        )
        lines += ["", *textwrap.wrap(more, WIDTH, break_on_hyphens=False)]
    return "\n".join(lines)


def _asked(word: str, root: Path) -> list[str]:
    """Return what a word is about: a group, an option, each one of a sweep, or a key."""
    key, equals, value = word.lstrip("+").partition("=")
    if word.startswith(("-", "~")) or key.startswith("hydra"):
        return []
    if key in catalogue.groups(root):
        return [f"{key}={one}" if one else key for one in value.split(",")]
    return [key] if equals else []


def _explained(word: str, root: Path) -> list[str]:
    try:
        return explain(word, root).lines(WIDTH)
    except UsageError as error:
        return textwrap.wrap(str(error), WIDTH, break_on_hyphens=False)


def _flag_name(flag: Flag) -> str:
    name = f"{flag.short}, {flag.long}" if flag.short else flag.long
    return f"{name} {flag.value}" if flag.value == RUN else name


def _choices(about: CommandHelp, root: Path) -> list[str]:
    """List groups with their options, then the most used keys with their defaults."""
    composition = catalogue.compose(about.config, root)
    lines: list[str] = []
    for group, default in composition.choices.items():
        rows = [
            (option.label, option.gloss)
            for option in catalogue.options(group, root, composition.choices)
        ]
        if rows:
            chosen = f" (default: {default})" if default else ""
            lines += ["", f"{group}=...{chosen}", *columns(rows, WIDTH)]
    rows = [
        (f"{key}={_value(composition.keys[key])}", composition.glosses.get(key, ""))
        for key in about.keys
        if key in composition.keys
    ]
    return [*lines, "", "Keys and their defaults:", *columns(rows, WIDTH)]


def _value(value: object) -> str:
    """Write a value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _examples(rows: Sequence[tuple[str, str]]) -> list[str]:
    """List commands that can be pasted; the glosses are shell comments in one column."""
    width = max((len(command) for command, gloss in rows if gloss), default=0)
    return [f"  {command:<{width}}" + f"  # {gloss}" * bool(gloss) for command, gloss in rows]

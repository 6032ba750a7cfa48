"""Say within a third of a second what a command begins with: torch takes seconds to be there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nasrun.config import catalogue
from nasrun.config.commands import CommandHelp
from nasrun.config.flags import FLAGS

SHOWN = ("strategy", "space", "dataset", "retrain", "genotype", "device", "seed")
OF_SEARCH = ("strategy", "space", "dataset", "device", "seed")
SILENT = {name for flag in FLAGS if flag.long in ("--cfg", "--info", "--hydra-help")
          for name in (flag.long, flag.short)}  # fmt: skip
MAX_LENGTH = 40  # characters of a value


def of(name: str, command: CommandHelp, words: Sequence[str], root: Path) -> str:
    """Return the line; empty where the command only prints something.

    Options and values are those that are typed, else the defaults of `conf/`; what the command
    line leaves open, such as the best device, is said when it is known.
    """
    if any(word.partition("=")[0] in SILENT for word in words) or not command.config:
        return ""
    repeated = [word for word in words if word.startswith("--from")]
    if repeated:
        return f"{name}: repeats {repeated[0].partition('=')[2]}"
    chosen = catalogue.chosen_options(words, root)
    if any(not _is_option(group, option, root) for group, option in chosen.items()):
        return ""  # one of a folder of their own, or a mistake that is told next
    composition = catalogue.compose(command.config, root, chosen)
    typed = {key.lstrip("+"): value for key, _, value in (word.partition("=") for word in words)}
    parts = []
    for key in OF_SEARCH if command.config == "search" else SHOWN:
        value = typed.get(key) or composition.choices.get(key) or composition.keys.get(key)
        if value is not None:
            text = str(value)
            short = text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 3]}..."
            parts.append(f"{key} {short}")
    return f"{name}: {', '.join(parts)}"


def _is_option(group: str, option: str, root: Path) -> bool:
    return os.path.isfile(catalogue.file(root, group, option))

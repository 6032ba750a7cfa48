"""Complete words with TAB from `conf/` alone; Hydra's own way takes longer than a person waits.

The shell calls `nasrun -sc query=bash` with the line in COMP_LINE and the cursor in COMP_POINT,
as Hydra's completion does; candidates are whole words, one a line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nasrun.config import catalogue, explanations, outside
from nasrun.config.commands import COMMANDS
from nasrun.config.flags import DIR, FLAGS, RUN
from nasrun.errors import UsageError
from nasrun.genotypes.published import published_cells
from nasrun.runs import run_names
from nasrun.runs.folder import RUN_FILE
from nasrun.terminal import console

BASH = r"""
_nasrun_completion() {
    local IFS=$'\n' word prefix=""
    word="${COMP_LINE:0:COMP_POINT}"
    word="${word##* }"
    # Readline replaces only what follows the last word break, so cut off what it keeps.
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        prefix="${word%"${word##*=}"}"
    fi
    COMPREPLY=($(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" "$1" -sc query=bash 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -o nospace -o default -F _nasrun_completion nasrun
""".strip()
SCRIPTS = {"bash": BASH}
EXAMPLE = 'eval "$(nasrun -sc install=bash)"'


def main(arguments: Sequence[str]) -> None:
    """Print the shell function for `nasrun -sc install=bash`, the candidates for `query=bash`."""
    action, _, shell = (arguments[0] if arguments else "").partition("=")
    if action not in ("install", "uninstall", "query") or shell not in SCRIPTS:
        raise UsageError(f"completion is there for {', '.join(SCRIPTS)}: {EXAMPLE}")
    if action == "install":
        console.say(SCRIPTS[shell])
    elif action == "uninstall":
        console.say("complete -r nasrun; unset -f _nasrun_completion")
    else:
        line = os.environ.get("COMP_LINE", "")
        point = os.environ.get("COMP_POINT", "")
        line = line[: int(point)] if point.isdigit() else line
        found = candidates(line, catalogue.conf_dir())
        if found:
            console.say("\n".join(found))


def candidates(line: str, root: Path) -> list[str]:
    """List whole words that may stand at the end of `line`; a finished word ends with a space."""
    words = line.split()
    current = "" if line.endswith(" ") or not words else words.pop()
    before = words[1:]  # without the program's name
    with contextlib.suppress(UsageError):
        before = outside.taken(before, root)
    if not before:
        found = [f"{name} " for name in (*COMMANDS, "--help", "--version")]
    else:
        found = list(_arguments(before, current, root))
    visible = [word for word in found if word.startswith(current)]
    return [word for word in visible if current.startswith("-") or not word.startswith("-")]


def _arguments(before: Sequence[str], current: str, root: Path) -> Iterator[str]:
    command = COMMANDS.get(before[0])
    if command is None:
        return
    yield "--help "
    if before[0] == "explain":
        yield from _explained(current, root)
    if before[0] == "list":
        yield from (f"{group} " for group in catalogue.groups(root))
    yield from (f"{flag} " for flag in command.flags)
    if len(before) == 1 or "sweeps" in command.names:
        yield from (f"{name} " for name in _names(command.names, current))
    if len(before) == len(command.words):
        yield from (f"{option.name} " for option in catalogue.options(command.group, root))
    for words in command.words[len(before) - 1 : len(before)]:
        yield from (f"{word} " for word in words)
    if not command.config:
        return
    waiting = next((flag for flag in FLAGS if before[-1] in (flag.long, flag.short)), None)
    if waiting and waiting.value:
        yield from (f"{value} " for value in waiting.allowed)
        if waiting.value == RUN:
            yield from (f"{name} " for name in _names(("runs",), current))
        if waiting.value in (DIR, RUN):
            yield from _folders(current)
        return
    yield from (f"{flag.long} " for flag in FLAGS)
    known = catalogue.compose(command.config, root, catalogue.chosen_options(before, root))
    key, equals, value = current.partition("=")
    if not equals:
        yield from _keys(key, known)
    else:
        sweeps = any(word in ("-m", "--multirun") for word in before)
        yield from _values(key, value, known, root, sweeps)


def _names(kinds: Sequence[str], current: str) -> Iterator[str]:
    """Yield names of runs, of sweeps and of published cells that may go on from `current`."""
    if "runs" in kinds:
        wanted = run_names.ANY if "sweeps" in kinds else run_names.SETTINGS
        yield from run_names.offered(current, wanted)
    if "genotypes" in kinds:
        yield from published_cells()


def _explained(current: str, root: Path) -> Iterator[str]:
    """Yield groups and keys, as for a search, and options; each is a whole word here."""
    known = catalogue.compose("search", root, catalogue.chosen_options([current], root))
    group, equals, value = current.partition("=")
    if equals:
        yield from _values(group, value, known, root, sweeps=False)
    else:
        yield from (f"{word.rstrip('=')} " if word.endswith("=") else word
                    for word in dict.fromkeys(_keys(current, known)))  # fmt: skip


def _folders(current: str) -> Iterator[str]:
    """Yield the folders that a path may go on with; one that holds a run ends the word."""
    parent, slash, begun = current.rpartition("/")
    with contextlib.suppress(OSError):
        for path in sorted(Path(f"{parent}{slash}" or ".").iterdir()):
            if path.is_dir() and (begun.startswith(".") or not path.name.startswith(".")):
                name = f"{parent}{slash}{path.name}"
                yield f"{name} " if (path / RUN_FILE).is_file() else f"{name}/"


def _keys(current: str, known: catalogue.Composition) -> Iterator[str]:
    """Yield groups and keys, one level at a time: `fitness.` before `fitness.zeta=`."""
    yield from (f"{group}=" for group in known.choices)
    depth = current.count(".")
    levels: Mapping[str, None] = dict.fromkeys(
        ".".join(parts[: depth + 1]) + ("." if len(parts) > depth + 1 else "=")
        for parts in (key.split(".") for key in known.keys)
        if len(parts) > depth
    )
    yield from levels


def _values(
    key: str, value: str, known: catalogue.Composition, root: Path, sweeps: bool
) -> Iterator[str]:
    """Yield options of a group, or the words that a key can be.

    In a sweep they are those that may follow a comma.
    """
    choices = [option.name for option in catalogue.options(key, root, known.choices)]
    if key == "genotype":
        choices = list(_names(("runs", "genotypes"), value.rpartition(",")[2]))
    elif key in known.keys:
        choices = explanations.choices(key, known.choices, root)
    taken, comma, _ = value.rpartition(",")
    end = "" if sweeps else " "
    if comma and not sweeps:
        return
    yield from (
        f"{key}={taken}{comma}{choice}{end}" for choice in choices if choice not in taken.split(",")
    )

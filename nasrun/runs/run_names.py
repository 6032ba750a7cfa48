"""Find the run that a person names: by its path, as `last`, or by how its name begins.

A path that exists always wins. Else names are those of the folders below `outputs/` in the current
folder: `12-00` or `12-00-00-darts` begins the name of a run, `2026-11-29/12-00` says of which day,
and `12-00-00/3` is job 3 of a sweep, whatever else its folder is called.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasrun.config.flags import in_quotes
from nasrun.errors import UsageError, enumerated
from nasrun.genotypes import known_networks
from nasrun.genotypes.published import published_cells
from nasrun.genotypes.source import FILE_NAME as GENOTYPE_FILE
from nasrun.genotypes.text import is_text
from nasrun.runs.folder import RUN_FILE, read_json
from nasrun.runs.job_folders import number_of
from nasrun.runs.model_file import MODEL_FILE, SUPERNET_FILE
from nasrun.runs.sweep import SWEEP_FILE
from nasrun.terminal import console

LAST = "last"
RANDOM = "random"  # a genotype that is drawn
TOP = Path("outputs")
MOST_DEPTH = 6  # folders below `outputs/` in which runs are looked for
MOST_NAMED = 4  # candidates in a sentence
FROM = "--from="


@dataclass(frozen=True)
class Wanted:
    """What a command needs of the run that is named.

    `file` is one that the run must have to be the last; `is_done` asks for a finished one, and
    `kind` for one of `nasrun search` or `nasrun retrain`. Prefixes stand for all runs.
    """

    what: str
    file: str = RUN_FILE
    is_done: bool = True
    sweeps: bool = False
    kind: str = ""


ANY = Wanted("run or sweep", is_done=False, sweeps=True)
SETTINGS = Wanted("run", is_done=False)
GENOTYPE = Wanted("finished run with a genotype", GENOTYPE_FILE)
NETWORK = Wanted("finished run with a retrained network", MODEL_FILE)
SUPERNET = Wanted("finished search that kept its supernet", SUPERNET_FILE)


def path_of(text: str, wanted: Wanted) -> Path:
    """Return the folder that a text names; a text that names no run is taken as a path.

    What `last` or a prefix stands for is told on the error stream.

    Raises:
        UsageError: several runs have such a name, or there is none that could be the last.
    """
    given = Path(os.path.expanduser(text))
    if os.path.lexists(given) or not text.strip("/"):
        return given
    first, _, rest = text.partition("/")
    if (job := _job(given)) is not None:
        found = job
    elif first == LAST:
        found = _last(wanted) / rest
        found = _job(found) or found
    else:
        fitting = _fitting(text, [path for path, is_sweep in _known()
                                  if wanted.sweeps or not is_sweep])  # fmt: skip
        if not fitting:
            return given
        if len(fitting) > 1:
            raise UsageError(f"{text} begins the names of {_listed(fitting)}: type more of it")
        found = fitting[0]
    console.complain(f"{text} is {found}")
    return found


def _job(path: Path) -> Path | None:
    """Return the folder of a job, given the sweep and its number: `sweep/3` is `sweep/3-egnas`."""
    if not path.name.isdecimal() or path.exists() or not (path.parent / SWEEP_FILE).is_file():
        return None
    return next(path.parent.glob(f"{path.name}-*"), None)


def genotype(text: str) -> str:
    """Put a path in the place of a run's name; other ways to say a genotype stay as they are.

    `last:2` is the second architecture on the front of the last run.

    Raises:
        UsageError: as `path_of`.
    """
    name, colon, place = text.rpartition(":")
    if not colon:
        name, place = text, ""
    is_known = (
        text in ("", RANDOM, *published_cells())
        or known_networks.named(text) is not None
        or is_text(text)
        or any(os.path.exists(os.path.expanduser(one)) for one in (text, name))
    )
    return text if is_known else f"{path_of(name, GENOTYPE)}{colon}{place}"


def in_words(command: str, words: Sequence[str]) -> list[str]:
    """Put paths in the place of run names in `--from=` and `genotype=` on a command line.

    Records thus keep the run itself, whatever is the last one when they are read again.
    """
    kind = command if command != "check" else ""
    changed = []
    for word in words:
        key, _, value = word.partition("=")
        if word.startswith(FROM):
            word = f"{FROM}{path_of(value, replace(SETTINGS, kind=kind))}"
        elif key == "genotype" and value and value[0] not in "'\"":
            values = [value] if is_text(value) else value.split(",")
            found = [genotype(one) for one in values]
            if found != values:  # a path that is found may need quotes
                new = [a if a == b else in_quotes(a) for a, b in zip(found, values, strict=True)]
                word = f"{key}={','.join(new)}"
        changed.append(word)
    return changed


def offered(current: str, wanted: Wanted) -> Iterator[str]:
    """Yield `last` and names of runs that may go on from `current`: short ones where they do."""
    known = [path for path, is_sweep in _known() if wanted.sweeps or not is_sweep]
    if known:
        yield LAST
    times = Counter(path.name for path in known)
    for path in sorted(known):
        is_enough = times[path.name] == 1 and not _is_job(path)
        is_short = is_enough and path.name.startswith(current)
        yield path.name if is_short else str(path.relative_to(TOP))


def _known() -> list[tuple[Path, bool]]:
    """List the runs and sweeps below `outputs/`, each with whether it is a sweep."""
    return [] if not TOP.is_dir() else list(_below(TOP, 0))


def _below(folder: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except OSError:
        return
    names = {entry.name for entry in entries}
    if names & {RUN_FILE, SWEEP_FILE}:
        yield folder, RUN_FILE not in names
    if RUN_FILE in names or depth == MOST_DEPTH:
        return  # what lies inside a run (its floors) belongs to it
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, depth + 1)


def _fitting(text: str, known: Sequence[Path]) -> list[Path]:
    """List those whose last parts begin as the parts of a text do; a whole last part counts more.

    >>> runs = [Path(f"outputs/sweeps/2026-11-29/12-00-00/{job}") for job in (1, 10)]
    >>> [path.name for path in _fitting("12-00/1", runs)], _fitting("1", runs)
    (['1'], [])
    """
    parts = text.strip("/").removeprefix(f"{TOP}/").split("/")
    found = []
    for path in known:
        own = path.relative_to(TOP).parts
        if len(parts) > len(own) or (len(parts) == 1 and _is_job(path)):
            continue
        pairs = zip(own[-len(parts) :], parts, strict=True)
        if all(name.startswith(part) for name, part in pairs):
            found.append(path)
    whole = [path for path in found if parts[-1] in (path.name, _number(path))]
    return whole or found


def _is_job(path: Path) -> bool:
    """Whether it is a job of a sweep that has no name without it."""
    return bool(_number(path))


def _number(path: Path) -> str:
    """Return the number of a job of a sweep; empty for another run."""
    is_inside = path.name.isdecimal() or (path.parent / SWEEP_FILE).is_file()
    return number_of(path.name) if is_inside else ""


def _last(wanted: Wanted) -> Path:
    """Return the run that started last; of those that started in one second the last by name."""
    found = []
    inside = set[Path]()  # jobs, where the sweep itself is wanted
    for path, is_sweep in _known():
        if is_sweep and wanted.sweeps:
            inside.add(path)
        if (is_sweep and not wanted.sweeps) or any(home in inside for home in path.parents):
            continue
        file = path / (SWEEP_FILE if is_sweep else RUN_FILE)
        record = _record(file)
        suits = is_sweep or (
            (not wanted.is_done or record.get("status") == "done")
            and (path / wanted.file).is_file()
            and wanted.kind in ("", record.get("kind"))
        )
        if suits and record:
            found.append((str(record.get("started")), str(path)))
    if not found:
        kind = f"{wanted.what} of nasrun {wanted.kind}" if wanted.kind else wanted.what
        raise UsageError(f"{LAST}: there is no {kind} below {TOP.absolute()}")
    return Path(max(found)[1])


def _record(file: Path) -> dict[str, Any]:
    """Read a record; empty for one that is damaged, which is never the last."""
    try:
        record = read_json(file)
    except UsageError:
        return {}
    return record if isinstance(record, dict) else {}


def _listed(paths: Sequence[Path]) -> str:
    names = [str(path.relative_to(TOP)) for path in sorted(paths)]
    more = len(names) - MOST_NAMED
    return enumerated([*names[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])

"""Find benchmarks and their tables, and get tables into memory.

Everything is checked when a table is loaded, nothing is unpickled, and the runs of one process
share it.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark
from nasrun.benchmarks.table import Arrays, Table
from nasrun.config import catalogue, plugins
from nasrun.errors import UsageError, closest
from nasrun.storage import npz_file
from nasrun.storage.cache_folder import table_places

GROUP = "benchmark"  # the folder of conf/ with one file for each of them


@cache
def benchmarks() -> Mapping[str, Benchmark]:
    """Return all benchmarks by their names."""
    root = catalogue.conf_dir()
    names = [option.name for option in catalogue.options(GROUP, root)]
    nodes = {name: catalogue.content(GROUP, name, root) for name in names}
    return {
        name: plugins.target(node)(
            name=name, **{key: text for key, text in node.items() if key not in plugins.OWN_KEYS}
        )
        for name, node in nodes.items()
    }


def of_space(space: str) -> list[Benchmark]:
    """List the benchmarks of a space that have accuracies; the one of its name comes first."""
    known = [one for one in benchmarks().values() if one.table.has_accuracies]
    found = [one for one in known if one.space == space]
    if not found:
        spaces = _published_spaces(known)
        raise UsageError(
            f"evaluator=table is not possible with space={space}, of which there is no table: type "
            f"{' or '.join(spaces)}"
        )
    return sorted(found, key=lambda one: one.name != space)


def _published_spaces(known: Sequence[Benchmark]) -> list[str]:
    """Return what can be typed for the spaces of benchmarks, those of a person's own left out."""
    published = (one for one in known if not one.describes_columns)
    return list(dict.fromkeys(f"space={one.space}" for one in published))


def load(space: str, file: str | None = None, dataset: str | None = None) -> Table:
    """Load the table of a space.

    Args:
        file: the table, or the name of a benchmark; `None` takes one from where tables are kept.
        dataset: of the tables that are there, the first that has this dataset is taken.

    Raises:
        UsageError: there is no such table, or something is wrong with it.
    """
    possible = of_space(space)
    if file is not None and file in benchmarks():
        paths = [locate(file)]
    elif file is not None:
        paths = [Path(file).expanduser()]
        if not paths[0].is_file():
            raise UsageError(f"evaluator.file={file} is not there")
    else:
        paths = [path for one in possible if (path := _kept(one.name))]
        paths = paths or [locate(possible[0].name)]
    for path in paths:
        table = _loaded(space, path)
        if dataset in table.datasets:
            return table
    missing = [one for one in possible if dataset in one.table.offers and not _kept(one.name)]
    if file is None and missing:
        locate(missing[0].name)  # says that it is not there, and how to get it
    return _loaded(space, paths[0])


def load_costs(space: str, column: str, file: str | None = None) -> Table:
    """Load a table that says what the architectures of a space cost.

    Args:
        column: that it must have; of the tables that are there, the first that has it is taken.
        file: the table, or the name of a benchmark; `None` takes one from where tables are kept.

    Raises:
        UsageError: there is no such table, or no such column.
    """
    known = [one for one in benchmarks().values() if one.table.has_costs]
    possible = [one for one in known if one.space == space]
    if not possible:
        spaces = _published_spaces(known)
        raise UsageError(
            f"objective=table is not possible with space={space}, of whose costs there is no table:"
            f" type {' or '.join(spaces)}, or objective=latency, which measures on this device"
        )
    if file is not None and file not in benchmarks():
        paths = [Path(file).expanduser()]
        if not paths[0].is_file():
            raise UsageError(f"objective.file={file} is not there")
    else:
        names = [one.name for one in possible] if file is None else [file]
        paths = [path for name in names if (path := _kept(name))]
        paths = paths or [locate(names[0], "objective.file")]
    tables = [_loaded_of(tuple(possible), path) for path in paths]
    columns = [name for table in tables for name in table.costs]
    if column not in columns:
        files = " or ".join(map(str, paths))
        raise UsageError(f"objective.column={column} is not in {files}; {closest(column, columns)}")
    return next(table for table in tables if column in table.costs)


def load_scores(space: str, dataset: str) -> Table:
    """Load the table of a space that has scores of untrained networks for a dataset.

    Raises:
        UsageError: there is none.
    """
    possible, tables = _with_scores(space)
    found = next((table for table in tables if dataset in table.scores), None)
    if found is None:
        known = [name for table in tables for name in table.scores]
        looked = [str(path) for one in possible for path in table_places(one.name)]
        there = f"there are tables for {' and '.join(known)}" if known else "there is no table"
        where = f" (looked for {' and '.join(looked)})" if looked else " of this space"
        raise UsageError(
            f"scores without training of space={space} on dataset={dataset} are not known: "
            f"{there}{where}; type proxy=logsynflow, which is computed here, or largest in place "
            "of zero_cost"
        )
    return found


def has_scores(space: str, dataset: str) -> bool:
    """Return whether `load_scores` would find a table."""
    return any(dataset in table.scores for table in _with_scores(space)[1])


def _with_scores(space: str) -> tuple[list[Benchmark], list[Table]]:
    """List the benchmarks of a space that have scores, and those of their tables that are here."""
    possible = [one for one in benchmarks().values() if one.table.has_scores and one.space == space]
    kept = [path for one in possible if (path := _kept(one.name))]
    return possible, [_loaded_of(tuple(possible), path) for path in kept]


def locate(name: str, key: str = "evaluator.file") -> Path:
    """Return where a benchmark's table is: in `NASRUN_DATA`, else in the user's cache folder.

    `key` is the setting that could name another place.
    """
    path = _kept(name)
    if path is None:
        looked = " and ".join(map(str, table_places(name)))
        raise UsageError(
            f"there is no table of {benchmarks()[name].label} (looked for {looked}): say where it "
            f"is with {key}=FILE, or type nasrun data {_how_to_get(benchmarks()[name])}"
        )
    return path


def _how_to_get(benchmark: Benchmark) -> str:
    name = benchmark.name
    return f"fetch {name}" if benchmark.address else f"import {name} FILE"


def _kept(name: str) -> Path | None:
    return next((path for path in table_places(name) if path.is_file()), None)


def _loaded(space: str, path: Path) -> Table:
    return _loaded_of(tuple(of_space(space)), path)


def _loaded_of(possible: tuple[Benchmark, ...], path: Path) -> Table:
    status = path.stat()
    return _load(possible, path, status.st_mtime_ns, status.st_size)


@cache  # the runs of a sweep share one table; a file that has changed is another one
def _load(possible: tuple[Benchmark, ...], path: Path, _modified_ns: int, _size: int) -> Table:
    return table_of(possible, path, read_arrays(path))


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file; read once in a process, unless the file changes."""
    status = path.stat()
    return _fingerprint(path, status.st_mtime_ns, status.st_size)


@cache
def _fingerprint(path: Path, _modified_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_of(possible: Sequence[Benchmark], path: Path, arrays: Arrays) -> Table:
    """Make the table that the arrays of a file are.

    Raises:
        UsageError: the arrays are no table of these benchmarks; the message names the first.
    """
    found = recognised(arrays)
    if found is None or found not in possible:
        missing = [name for name in possible[0].table.required if name not in arrays]
        what = f"is a table of {found.label}" if found else f"lacks {', '.join(missing)}"
        raise UsageError(f"{path} is no table of {possible[0].label}: it {what}")
    return found.table(path, arrays)


def recognised(arrays: Arrays) -> Benchmark | None:
    """Return the benchmark whose required arrays are all there, by their names.

    Of several, it is the one that requires most.
    """
    fitting = [one for one in benchmarks().values() if set(one.table.required) <= set(arrays)]
    return max(fitting, key=lambda one: len(one.table.required), default=None)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file; raise `UsageError` where it is none, or holds objects."""
    try:
        return npz_file.read_all(path)
    except npz_file.UNREADABLE as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        raise UsageError(f"{path} is not a table, an .npz file of arrays: {reason}") from None

"""Where benchmark tables are, and how they get into memory.

Everything is checked when a table is loaded, nothing is unpickled, and the runs of one process
share it.
"""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from nasrun.benchmarks.nasbench101 import NasBench101Table
from nasrun.benchmarks.nasbench201 import NasBench201Table
from nasrun.benchmarks.table import Arrays, Table
from nasrun.errors import UsageError
from nasrun.storage import npz_file
from nasrun.storage.cache_folder import cache_folder

TABLES: Mapping[str, type[Table]] = {
    table.space: table
    for table in (NasBench101Table, NasBench201Table)  # the one that requires more comes first
}


def load(space: str, file: str | None = None) -> Table:
    """The table of a space, from `file` or from where tables are kept.

    Raises:
        UsageError: there is no such table, or something is wrong with it.
    """
    if space not in TABLES:
        raise UsageError(
            f"evaluator=table is not possible with space={space}, of which there is no table: type "
            f"{' or '.join(f'space={name}' for name in TABLES)}"
        )
    path = locate(space, file)
    status = path.stat()
    return _load(space, path, status.st_mtime_ns, status.st_size)


def locate(space: str, file: str | None = None) -> Path:
    """Where the table is: `file`, else `NASRUN_DATA`, else the user's cache folder."""
    if file is not None:
        path = Path(file).expanduser()
        if not path.is_file():
            raise UsageError(f"evaluator.file={file} is not there")
        return path
    for path in places(space):
        if path.is_file():
            return path
    raise UsageError(
        f"there is no table of space={space} (looked for {' and '.join(map(str, places(space)))}): "
        f"say where it is with evaluator.file=FILE, or type nasrun data import {space} FILE"
    )


def places(space: str) -> list[Path]:
    """Where the table of a space is looked for, in this order; the last is where imports go."""
    folders = [cache_folder("tables")]
    if os.environ.get("NASRUN_DATA"):
        folders.insert(0, Path(os.environ["NASRUN_DATA"]))
    return [folder / f"{space}.npz" for folder in folders]


@cache  # the runs of a sweep share one table; a file that has changed is another one
def _load(space: str, path: Path, _modified_ns: int, _size: int) -> Table:
    return table_of(space, path, read_arrays(path))


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file; read once in a process, unless the file changes."""
    status = path.stat()
    return _fingerprint(path, status.st_mtime_ns, status.st_size)


@cache
def _fingerprint(path: Path, _modified_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table_of(space: str, path: Path, arrays: Arrays) -> Table:
    """The table that the arrays of a file are; raises `UsageError` where they are none."""
    found = space_of(arrays)
    if found != space:
        missing = [name for name in TABLES[space].required if name not in arrays]
        what = f"is a table of space={found}" if found else f"lacks {', '.join(missing)}"
        raise UsageError(f"{path} is no table of space={space}: it {what}")
    return TABLES[space](path, arrays)


def space_of(arrays: Arrays) -> str | None:
    """The space whose table the arrays are, by their names."""
    fitting = [name for name, table in TABLES.items() if set(table.required) <= set(arrays)]
    return fitting[0] if fitting else None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file; raises `UsageError` where it is none, or holds objects."""
    try:
        return npz_file.read_all(path)
    except npz_file.UNREADABLE as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        raise UsageError(f"{path} is not a table, an .npz file of arrays: {reason}") from None

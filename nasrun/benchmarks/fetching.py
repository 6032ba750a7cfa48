"""Fetch the file of a benchmark from its address, check it, and import it.

Addresses stand in `conf/benchmark`. Where a benchmark has none that a program can use, the pages
are told on which a person finds its files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from nasrun.benchmarks import store
from nasrun.benchmarks.importing import import_table
from nasrun.errors import RunError, UsageError, closest
from nasrun.protocols.state import Progress
from nasrun.storage import downloads
from nasrun.storage.cache_folder import cache_folder, table_places

READ_AS_DATA = (".npz", ".csv", ".tfrecord")  # what no pickle is in


def address_of(name: str, typed: str | None) -> str:
    """Return the address of a benchmark's file: the one that is typed, or else the known one.

    Raises:
        UsageError: there is none, or what lies there is no file that is read as data alone.
    """
    known = store.benchmarks()
    if name not in known:
        raise UsageError(f"there is no benchmark '{name}': {closest(name, known)}")
    address = typed or known[name].address
    if not address:
        where = known[name].pages or "nobody offers its file as it is imported"
        raise UsageError(
            f"nasrun knows no address of {name} that a program can fetch from: {where}; then type "
            f"nasrun data import {name} FILE, or give an address: nasrun data fetch {name} "
            "--address https://..."
        )
    suffix = PurePosixPath(urlsplit(address).path).suffix
    if suffix not in READ_AS_DATA:
        raise UsageError(
            f"{address} does not end in {' or '.join(READ_AS_DATA)}: others can hold pickles, "
            f"which run code; fetch it yourself if you trust it, and type nasrun data import "
            f"{name} FILE"
        )
    return address


def fetch_table(
    name: str,
    address: str,
    *,
    sha256: str | None,
    force: bool,
    tell: Callable[[str], None],
    progress: Progress,
) -> Path:
    """Fetch a file and import it; return the path of the table.

    Args:
        sha256: what its checksum has to be, where the person knows it.
        force: replace a table that was imported before.
        tell: says a line to the person: the size before, the checksum after.

    Raises:
        UsageError: it is not there, or not sound; nothing was imported.
        RunError: the connection broke off; the next call goes on.
    """
    target = table_places(name)[-1]
    if target.exists() and not force:
        raise UsageError(f"{target} is there already: --force replaces it")
    file = cache_folder("downloads") / PurePosixPath(urlsplit(address).path).name
    if not file.is_file():
        offered = downloads.ask(address)
        tell(f"fetch {address}: {offered.num_bytes / 1e6:,.1f} MB to {file}")
        known = store.benchmarks()[name]
        wanted = [("sha256", sha256 or (known.sha256 if address == known.address else ""))]

        def check(path: Path) -> None:
            for kind, expected in wanted:
                found = downloads.checksum(path, kind)
                if expected and found != expected.lower():
                    raise RunError(
                        f"{address} is not the file that was expected: its {kind} is {found}, and "
                        f"not {expected}; it was thrown away"
                    )
                of = "as expected" if expected else "none is published to compare it with"
                tell(f"{kind} {found} ({of})")

        downloads.fetch(address, offered, file, check, lambda done, all_: progress(done, all_))
    elif sha256 and downloads.checksum(file, "sha256") != sha256.lower():
        raise UsageError(f"{file} was fetched before and has another sha256: remove it")
    path = import_table(name, str(file), force=force, progress=progress)
    file.unlink()
    return path

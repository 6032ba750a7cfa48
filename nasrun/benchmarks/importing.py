"""How a table, or ImageNet16-120, gets into the user's cache folder: read, checked in full, written
at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from nasrun.benchmarks import csv_files, nats_files, store, tfrecord_files
from nasrun.benchmarks.checks import checks
from nasrun.benchmarks.table import Arrays
from nasrun.datasets import imagenet16_files
from nasrun.errors import UsageError, closest
from nasrun.protocols.state import Progress
from nasrun.storage.durable import replacing

Reader = Callable[[Path, Progress], Arrays]

OFFICIAL: Mapping[str, tuple[str, Reader]] = {
    "nasbench201": (".pbz2", nats_files.read),
    "nasbench101": (".tfrecord", tfrecord_files.read),
}


def import_table(space: str, file: str, *, force: bool, progress: Progress) -> Path:
    """The path at which the table of a space is found from now on.

    Args:
        space: or `imagenet16`, whose images `dataset=imagenet16` finds there.
        file: in the condensed form (.npz), a CSV file, or the benchmark's official one; of
            `imagenet16` the folder of the official files.
        force: replace what was imported before.

    Raises:
        UsageError: the file is none, or is not sound. Nothing was written.
    """
    images = space == imagenet16_files.NAME
    if space not in store.TABLES and not images:
        known = [*store.TABLES, imagenet16_files.NAME]
        raise UsageError(f"there is no benchmark '{space}': {closest(space, known)}")
    target = imagenet16_files.imported() if images else store.places(space)[-1]
    if target.exists() and not force:
        raise UsageError(f"{target} is there already: --force replaces it")
    path = Path(file).expanduser()
    read = imagenet16_files.read if images else partial(_read_table, space)
    arrays = read(path, progress)
    arrays.setdefault("README", np.array(json.dumps({"source": path.name, "by": "nasrun data"})))
    _write(target, arrays)
    return target


def _read_table(space: str, path: Path, progress: Progress) -> dict[str, np.ndarray]:
    arrays = dict(_reader(space, path)(path, progress))
    table = store.table_of(space, path, arrays)
    faults = [
        f"{check.name}: {check.figures}"
        for check in checks(table, arrays, progress)
        if not check.passed
    ]
    if faults:
        raise UsageError(f"{path} is not the table of {space}: {'; '.join(faults)}")
    return arrays


def _reader(space: str, path: Path) -> Reader:
    """What reads a file like this one, by the end of its name."""
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    suffix, official = OFFICIAL[space]
    if path.is_dir() and official is nats_files.read:
        return official  # its folder of one file per cell
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    readers: dict[str, Reader] = {
        ".npz": lambda path, progress: store.read_arrays(path),
        ".csv": lambda path, progress: csv_files.read(space, path, progress),
        suffix: official,
    }
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is no table of {space}: its name must end in {', '.join(readers)}"
        )
    return readers[path.suffix.lower()]


def _write(target: Path, arrays: Arrays) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
            for name, array in arrays.items():  # as numpy.savez does, but for any name
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written ({error.strerror}): XDG_CACHE_HOME=FOLDER names another "
            "cache folder"
        ) from None

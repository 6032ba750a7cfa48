"""Import a table, or ImageNet16-120, into the user's cache folder.

The file is read, checked in full, and written at once.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from nasrun.benchmarks import csv_files, store
from nasrun.benchmarks.benchmark import FOLDER, Benchmark, ColumnOptions, Reader
from nasrun.benchmarks.table import Arrays
from nasrun.datasets import imagenet16_files
from nasrun.errors import UsageError, closest
from nasrun.protocols.state import Progress
from nasrun.storage.cache_folder import table_places
from nasrun.storage.durable import replacing


def import_table(
    name: str,
    file: str,
    *,
    force: bool,
    progress: Progress,
    out: str | None = None,
    options: ColumnOptions = ColumnOptions(),  # noqa: B008 - it is frozen
) -> Path:
    """Import a file; return the path at which it is found from now on.

    Args:
        name: or `imagenet16`, whose images `dataset=imagenet16` finds there.
        file: in the condensed form (.npz), a CSV file, or the benchmark's official one; of
            `imagenet16` the folder of the official files.
        force: replace what was imported before.
        out: another place for the table; `None` is where it is found without being named.
        options: what the columns of the file are, where the benchmark does not know them.

    Raises:
        UsageError: the file is missing or not sound. Nothing was written.
    """
    images, known = name == imagenet16_files.NAME, store.benchmarks()
    if name not in known and not images:
        names = [*known, imagenet16_files.NAME]
        raise UsageError(f"there is no benchmark '{name}': {closest(name, names)}")
    if options != ColumnOptions() and not (name in known and known[name].describes_columns):
        raise UsageError(f"the columns of {name} are known: leave --value and --ignore out")
    target = imagenet16_files.imported() if images else table_places(name)[-1]
    if out is not None:
        target = Path(out).expanduser()
        if images or target.suffix != ".npz":
            raise UsageError(f"--out {out} must be a file .npz for a table")
    if target.exists() and not force:
        raise UsageError(f"{target} is there already: --force replaces it")
    path = Path(file).expanduser()
    read = imagenet16_files.read if images else partial(_read_table, known[name], options)
    arrays = read(path, progress)
    arrays.setdefault("README", np.array(json.dumps({"source": path.name, "by": "nasrun data"})))
    _write(target, arrays)
    return target


def _read_table(
    benchmark: Benchmark, options: ColumnOptions, path: Path, progress: Progress
) -> dict[str, np.ndarray]:
    arrays = dict(_reader(benchmark, path, options)(path, progress))
    table = store.table_of([benchmark], path, arrays)
    faults = [
        f"{check.name}: {check.figures}"
        for check in benchmark.checks(table, arrays, progress)
        if not check.passed
    ]
    if faults:
        raise UsageError(f"{path} is not the table of {benchmark.name}: {'; '.join(faults)}")
    return arrays


def _reader(benchmark: Benchmark, path: Path, options: ColumnOptions) -> Reader:
    """Choose what reads a file, by the end of its name."""
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    readers: dict[str, Reader] = {".npz": lambda path, progress: store.read_arrays(path)}
    if benchmark.layout is not None:
        readers[".csv"] = partial(csv_files.read, benchmark)
    if benchmark.describes_columns:
        described: Reader = lambda path, progress: benchmark.read_described(path, options)  # noqa: E731
        readers = dict.fromkeys((".csv", ".npz"), described)
    readers |= benchmark.readers
    kind = FOLDER if path.is_dir() else path.suffix.lower()
    if kind in readers:
        return readers[kind]
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    suffixes = ", ".join(suffix for suffix in readers if suffix != FOLDER)
    raise UsageError(f"{path} is no table of {benchmark.name}: its name must end in {suffixes}")


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

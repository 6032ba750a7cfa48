"""Keep the folder of a run: who writes in it, its record, and files that are never half.

Whole files are replaced atomically. Append-only files (`*.jsonl`, the log, TensorBoard's) are cut
back to the lengths that the last checkpoint noted when a run is resumed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nasrun import __version__
from nasrun.errors import RunError, UsageError
from nasrun.storage.durable import UNFINISHED, AppendedFile, replacing, sync
from nasrun.storage.folder_lock import FolderLock, InUse
from nasrun.terminal.text import command

RUN_FILE = "run.json"
MAX_TEXT_BYTES = 100_000_000  # of a JSON file; the record of a sweep of 100,000 jobs has 20 MB
APPEND_ONLY = ("*.jsonl", "*.log", "tensorboard/*")
PACKAGES = (
    "torch", "torchvision", "numpy", "scipy", "scikit-learn", "cma", "hydra-core", "omegaconf",
    "pyyaml", "pillow", "matplotlib", "tensorboard",
)  # fmt: skip


class Taken(UsageError):
    """A folder holds a run or a sweep already."""


class RunFolder:
    """A locked run folder. Use it as a context manager: the lock ends with it, or with the process.

    A write that fails (a full disk, a folder that was writable once) raises a `RunError`.

    Raises:
        UsageError: another live process works in the folder, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FolderLock | None = None

    def __enter__(self) -> RunFolder:
        require_own_files(self.path)
        try:
            while self._lock is None or not self._lock.still_there:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = FolderLock(self.path)
            for leftover in self.path.glob(f"{UNFINISHED}*"):  # of a process that was killed
                leftover.unlink()
        except OSError as error:
            raise UsageError(f"cannot write in {self.path}: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.release()
            self._lock = None

    # -- the record of the run

    def require_new(self) -> None:
        """Raise `Taken` in a folder that holds a run already."""
        require_no_run(self.path)

    def start(self, record: Mapping[str, Any]) -> None:
        """Write `run.json` of a new run; refuse a folder that holds one already."""
        self.require_new()
        self.write_json(
            RUN_FILE, {**record, **environment(), "status": "running", "started": now()}
        )

    def update(self, **values: Any) -> None:
        self.write_json(RUN_FILE, {**self.read_json(RUN_FILE), **values})

    def require_space(self, num_bytes: int) -> None:
        """Raise a `UsageError` where the disk has no room for so much.

        What lies in the folder already counts as room.
        """
        used = sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        free = shutil.disk_usage(self.path).free
        if used + free < num_bytes:
            raise UsageError(
                f"the run will write about {num_bytes / 1e6:,.0f} MB into {self.path}, and the "
                f"disk has {free / 1e6:,.0f} MB left: make room, or choose another hydra.run.dir"
            )

    # -- files

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, json.dumps(value, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        with self.replacing(name) as path:
            path.write_text(text, encoding="utf-8")

    def read_json(self, name: str) -> Any:
        return read_json(self.path / name)

    @contextlib.contextmanager
    def replacing(self, name: str, keep_previous: str | None = None) -> Iterator[Path]:
        """Replace a file of this folder, as `durable.replacing` does.

        `keep_previous` names the file that the old one becomes.
        """
        previous = None if keep_previous is None else self.path / keep_previous
        with self.in_words(name), replacing(self.path / name, previous) as path:
            yield path

    @contextlib.contextmanager
    def in_words(self, name: str, deed: str = "write") -> Iterator[None]:
        """Turn a failure of the system within the context into a `RunError` about the file."""
        try:
            yield
        except OSError as error:
            raise RunError(
                f"cannot {deed} {self.path / name}: {error.strerror or error}; when that is "
                f"mended, `{command('nasrun', 'resume', self.path)}` goes on"
            ) from error

    def remove(self, name: str) -> None:
        with self.in_words(name):
            (self.path / name).unlink()

    def appended(self, name: str) -> AppendedFile:
        """Open an append-only file."""
        with self.in_words(name):
            (self.path / name).parent.mkdir(exist_ok=True)
            return AppendedFile(self.path / name)

    def append_only_lengths(self) -> dict[str, int]:
        """Count the bytes in each append-only file, by its path here; all are on the disk."""
        lengths = {}
        for path in self._append_only_files():
            name = str(path.relative_to(self.path))
            with self.in_words(name):
                sync(path)
                lengths[name] = path.stat().st_size
        return lengths

    def shorter_than(self, lengths: Mapping[str, int]) -> list[str]:
        """List the records of results (`*.jsonl`) that are shorter than these lengths."""
        sizes = {path.name: path.stat().st_size for path in self.path.glob("*.jsonl")}
        known = [name for name in lengths if name.endswith(".jsonl")]
        return [name for name in known if sizes.get(name, 0) < lengths[name]]

    def cut_back(self, lengths: Mapping[str, int]) -> None:
        """Cut the append-only files to `lengths`; files that are not named are removed."""
        for path in list(self._append_only_files()):
            name = str(path.relative_to(self.path))
            with self.in_words(name):
                if name not in lengths:
                    path.unlink()
                elif path.stat().st_size > lengths[name]:
                    os.truncate(path, lengths[name])

    def _append_only_files(self) -> Iterator[Path]:
        for pattern in APPEND_ONLY:
            yield from sorted(path for path in self.path.glob(pattern) if path.is_file())


def require_no_run(folder: Path) -> None:
    """Raise `Taken` for a folder that holds a run already."""
    if (folder / RUN_FILE).exists():
        raise Taken(
            f"{folder} holds a run already: `{command('nasrun', 'resume', folder)}` goes on with "
            "it, another hydra.run.dir starts a new one"
        )


@contextlib.contextmanager
def new_folder(
    path: Path, require_new: Callable[[Path], None], *, is_default: bool
) -> Iterator[RunFolder]:
    """Lock a folder for something new.

    A default name tells the second, in which others may start as well: where it is taken, the
    folder gets the next free one of `NAME-2`, `NAME-3`, ... Who has the lock has the name.

    Args:
        require_new: raises `Taken` for a folder that cannot be used.

    Raises:
        UsageError: the folder that a person has named is taken, or it cannot be written.
    """
    for place in names(path) if is_default else [path]:
        with contextlib.ExitStack() as stack:
            try:
                if is_default:
                    require_new(place)  # whoever goes on with a run there is not locked out
                folder = stack.enter_context(RunFolder(place))
                require_new(place)
            except (Taken, InUse):
                if not is_default:
                    raise
                continue
            yield folder
            return


def names(path: Path) -> Iterator[Path]:
    """Yield a path, and then it with -2, -3, ... at the end."""
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))


def require_own_files(folder: Path) -> None:
    """Refuse a run folder through which files elsewhere could be written, cut or removed.

    A stranger's folder may hold links at any depth, also in the place of a folder (`floor/NAME`),
    and files that have a second name elsewhere (hard links). The walk follows no link.

    Raises:
        UsageError: a link leads out of the folder, or a file has more than one name.
    """
    home = Path(os.path.realpath(folder))
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                if not Path(os.path.realpath(path)).is_relative_to(home):
                    raise UsageError(f"{path} is a link to a place outside of {folder}: remove it")
            elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                raise UsageError(
                    f"{path} is a file with {status.st_nlink} names (hard links), so that writing "
                    f"it would change another one: type cp -r {folder} COPY and use the copy"
                )


def read_text(path: Path, most: int = MAX_TEXT_BYTES) -> str:
    """Read a text file of at most `most` bytes; a `UsageError` names a missing or foreign one."""
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            # a pipe would be waited for, and a device has no end
            raise UsageError(f"{path} is not a regular file")
        if status.st_size > most:
            raise UsageError(f"{path} has {status.st_size:,} bytes, and at most {most:,} are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text") from None


def read_json(path: Path) -> Any:
    """Read a JSON file; a `UsageError` names a missing or broken one."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache  # one process runs one version of the code, and a sweep asks for each job
def environment() -> Mapping[str, Any]:
    """Return versions, machine and commit of the code, for the record of a run."""
    versions = {"nasrun": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "versions": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        **_code(),
    }


def _processor() -> str:
    """Return the model of the CPU, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _code() -> dict[str, Any]:
    """Return the `commit` of the code and whether it was `clean`; both null outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    unknown = {"commit": None, "clean": None}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if not (folder / ".git").exists():
        return unknown
    try:
        # a file that git does not know, such as a new strategy, decides results too
        changed = git("status", "--porcelain", "--", "nasrun", "conf", "pyproject.toml")
        return {"commit": git("rev-parse", "HEAD"), "clean": not changed}
    except (OSError, subprocess.CalledProcessError):
        return unknown

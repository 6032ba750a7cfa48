"""Write files that survive a crash: replaced as a whole, or appended to record by record.

What is written is on the disk before anything relies on it. A failure of the system (a full disk)
is raised as the `OSError` that it is; a run folder puts it into words. Ours, because the libraries
that replace a file as a whole neither bring the folder to the disk nor keep the version before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nasrun.errors import UsageError

UNFINISHED = ".new-"  # how the names of files begin that are being written


@contextlib.contextmanager
def replacing(target: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces `target` at the end, or not at all.

    The old version is moved to `previous`, where that is given.
    """
    descriptor, temporary_name = tempfile.mkstemp(
        dir=target.parent, prefix=f"{UNFINISHED}{target.stem}.", suffix=target.suffix
    )
    os.close(descriptor)
    temporary = Path(temporary_name)
    try:
        yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        if previous is not None and target.exists():
            target.replace(previous)
        temporary.replace(target)
        sync(target.parent)
    finally:
        with contextlib.suppress(OSError):  # a second failure would hide the first
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make the folder that `--out` names; raise `UsageError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}") from None


def sync(path: Path) -> None:
    """Return when the contents of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system syncs folders
            raise
    finally:
        os.close(descriptor)


class AppendedFile:
    """A file to which records are appended; each is handed to the system at once and in full."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, record: bytes) -> None:
        rest = memoryview(record)
        while rest:  # a disk that is nearly full takes a part
            rest = rest[self._file.write(rest) or 0 :]

    def close(self) -> None:
        """Close the file; this never raises.

        What a checkpoint relies on was brought to the disk before it.
        """
        with contextlib.suppress(OSError):
            self._file.close()

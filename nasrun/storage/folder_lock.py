"""Lock a folder while a process works in it: the lock ends with the process, however that ends.

It is a lock of the kernel's. Ours and not `filelock`, whose lock (flock) lives on in forked
children of a process that was killed, and whose refusal names a path and a time limit: here it
names the process and its machine, and knows what a file system without locks
needs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from nasrun.errors import UsageError


class InUse(UsageError):
    """Another live process works in a folder."""


HELD = (errno.EAGAIN, errno.EACCES)


class FolderLock:
    """A lock that is held from its construction to `release`.

    The file `.lock` names the process and its machine. Some file systems of clusters have no locks;
    there the file alone must tell, and the word of a process of this machine that is gone counts
    for nothing.

    Raises:
        InUse: a live process holds it.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        # a lock of this kind is not inherited by the worker processes that decode pictures, which
        # live on for a while when their parent is killed
        self._file = self._path.open("a+b", buffering=0)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            if error.errno in HELD or (holder is not None and may_live(*holder)):
                self._file.close()
                raise InUse(self._refusal(holder)) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} {socket.gethostname()}\n".encode())

    @property
    def still_there(self) -> bool:
        """Return whether the locked file still is the one in the folder.

        The folder may have been removed before the lock was taken.
        """
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        try:
            self._file.truncate(0)
        finally:
            self._file.close()

    def _holder(self) -> tuple[int, str] | None:
        """Return the process and the machine that the file names."""
        self._file.seek(0)
        return _named(self._file.read(300))

    def _refusal(self, holder: tuple[int, str] | None) -> str:
        folder = self._path.parent
        if holder is None:
            return f"{folder} is in use by another nasrun process"
        pid, host = holder
        text = (
            f"{folder} is in use by another nasrun process, {pid} on {host}: wait until it ends, "
        )
        text += "or choose another folder"
        if host == socket.gethostname():
            return text
        return f"{text}; if that machine is gone for good, delete {self._path}"


def _named(content: bytes) -> tuple[int, str] | None:
    pid, _, host = content.decode(errors="replace").strip().partition(" ")
    return (int(pid), host) if pid.isdecimal() and len(pid) < 10 and host else None


def in_use(folder: Path) -> bool:
    """Return whether a process may be at work in a folder; the lock is read and not touched."""
    path = folder / ".lock"
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            holder = _named(file.read(300))
    except OSError:
        return False
    return holder is not None and may_live(*holder)


def may_live(pid: int, host: str) -> bool:
    """Return whether a process may be alive.

    Nobody knows that of a process on another machine, so it may be.
    """
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

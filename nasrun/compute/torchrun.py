"""Read what torchrun says of the processes that it has started; torch is not imported here."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def num_processes() -> int:
    """Return how many processes train together; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Return the number of this process; only the first one, 0, writes and speaks."""
    return _number("RANK", 0) if num_processes() > 1 else 0


def local_rank() -> int:
    """Return the number of this process on its machine, which is that of its GPU."""
    return _number("LOCAL_RANK", 0)


def num_local_processes() -> int:
    """Return how many of the processes are on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


@contextmanager
def place_of_follower() -> Iterator[Path]:
    """Make a folder in which a process that is not the first writes what nobody will read.

    So all processes do the same, and none but the first has to do with the folder of the run.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by default nothing is tidied up
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place) / "run"
        folder.mkdir()
        yield folder


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise

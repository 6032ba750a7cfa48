"""Write TensorBoard's event file, one record after the other.

torch's `SummaryWriter` writes in a thread of its own, which can die, and is behind when a
checkpoint notes how long the files are; here a record is in the file when `add` returns.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from nasrun.storage.durable import AppendedFile


class EventFile:
    """A new file of a run's `tensorboard` folder.

    Args:
        open_file: opens an append-only file of the run folder.
        number: how many files the folder has already; it keeps names apart.
    """

    def __init__(self, open_file: Callable[[str], AppendedFile], number: int) -> None:
        stamp = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._file = open_file(f"tensorboard/events.out.tfevents.{stamp}")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summary: Any, step: int | None = None) -> None:
        """Append a summary of `torch.utils.tensorboard.summary`."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())

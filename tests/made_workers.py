"""What worker processes of tests do. It imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasrun.errors import UsageError
from tests import waiting


def make(number: int, num_threads: int) -> Callable[[Any], Any]:
    """Answers to (what to do, with what)."""

    def refuse(text: str) -> None:
        raise UsageError(text)

    def die(marks: str, times: int) -> str:
        """So many times, each of which leaves a mark; then survive."""
        count = len(list(Path(marks).parent.glob(f"{Path(marks).name}.*")))
        if count < times:
            Path(f"{marks}.{count}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    def wait(until: str, mark: str) -> str:
        """For a file."""
        Path(mark).touch()
        waiting.until(Path(until).exists)
        return "waited"

    deeds = {
        "where": lambda: (number, num_threads, os.getpid()),
        "refuse": refuse,
        "die": die,
        "exit": lambda: os._exit(3),
        "wait": wait,
    }
    return lambda task: deeds[task[0]](*task[1:])

"""A trial that is a command line, run inside this process or in one of its own."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nasrun.cli import main as cli

ROOT = Path(__file__).resolve().parents[3]
PROCESS_SECONDS = 120
PROCESS_BYTES = 12 * 2**30  # of addresses; torch alone reserves several

Trial = Callable[[], object]
Kind = Callable[[random.Random, Path], Trial]


class CommandLine:
    """A trial that is a command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def __call__(self) -> None:
        cli.main(list(self.words))

    def process(self) -> tuple[int, str, str]:
        """Exit code, standard output and error of a process of its own."""
        words = [word.replace("\x00", "").encode(errors="replace").decode() for word in self.words]
        words = [word[:100_000] for word in words]  # the system takes no longer ones
        finished = subprocess.run(
            [sys.executable, "-m", "nasrun", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROCESS_SECONDS,
            preexec_fn=limit_process,
        )
        out, err = (text.decode(errors="replace") for text in (finished.stdout, finished.stderr))
        return finished.returncode, out, err


def nasrun(*words: str) -> CommandLine:
    return CommandLine(words)


def limit_process() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES, PROCESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

"""Leave a process as it was found: a notebook goes on after a run, whatever became of that."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from nasrun.config.hydra_errors import sentence
from nasrun.errors import RunError, UsageError, is_of_hydra
from nasrun.launch.interruption import SIGNALS

_one_at_a_time = threading.RLock()  # Hydra keeps what it composes in singletons


@contextmanager
def left_as_they_were() -> Iterator[None]:
    """Put back what a run changes of the process: Hydra's singletons, arguments, signals, logging.

    Runs of several threads wait for each other. The random state of torch and numpy is not
    touched by a run, and the current folder neither.
    """
    with _one_at_a_time:
        glob, config = GlobalHydra.instance(), HydraConfig.instance()
        hydra, composed, arguments = glob.hydra, config.cfg, sys.argv
        level = logging.getLogger("hydra").level
        in_main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in SIGNALS} if in_main else {}
        glob.clear()
        try:
            yield
        finally:
            # a run that was interrupted has told the process to ignore further signals
            for number, handler in handlers.items():
                signal.signal(number, handler)
            logging.getLogger("hydra").setLevel(level)
            sys.argv = arguments
            glob.hydra, config.cfg = hydra, composed


@contextmanager
def errors_of_ours(words: Sequence[str]) -> Iterator[None]:
    """Raise a `UsageError` in place of what Hydra raises, and of `SystemExit`.

    Args:
        words: the command and what it was given.
    """
    try:
        yield
    except (UsageError, RunError):
        raise
    except SystemExit as error:
        raise RunError(f"nasrun {words[0]} ended with exit code {error.code}") from None
    except Exception as error:
        told = sentence(error, words) if is_of_hydra(error) else None
        if told is None:
            raise
        raise UsageError(told) from error

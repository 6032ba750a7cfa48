"""Turn what ends a run from outside into exceptions: signals, a full disk, want of memory."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nasrun.compute import cancellation, torchrun
from nasrun.errors import RunError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S = 2.0


@contextmanager
def terminated_as_interrupted(*, at_once: bool = True) -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C within the context.

    A scheduler ends a job with SIGTERM, and a terminal that is closed sends SIGHUP. A second signal
    soon after does not disturb what the first one does. A signal that is ignored already (nohup)
    stays so, and so does one that submitit handles: SIGTERM comes before the signal by which it
    puts a job back into the queue.

    Python may drop what a handler raises, so the signal is noted in `cancellation` besides. Where
    it does not end the work `at_once`, it is only noted, until the work looks; a second one does.
    """
    last = float("-inf")

    def interrupt(number: int, _: object) -> None:
        nonlocal last
        waits = not at_once and cancellation.noted() is None
        cancellation.note(number)
        if not waits and time.monotonic() - last > PATIENCE_S:
            last = time.monotonic()
            raise KeyboardInterrupt

    cancellation.look()  # of a context around this one
    in_main = threading.current_thread() is threading.main_thread()  # Python allows no other
    handled = [number for number in SIGNALS if in_main and not _is_taken(signal.getsignal(number))]
    previous = {number: signal.signal(number, interrupt) for number in handled}
    is_outermost = not any(_is_ours(handler) for handler in previous.values())
    try:
        yield
    finally:
        if is_outermost:
            cancellation.forget()
        for number, handler in previous.items():
            if last > float("-inf"):  # the process is about to end, and says so
                signal.signal(number, signal.SIG_IGN)
            elif signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


def _is_ours(handler: object) -> bool:
    return getattr(handler, "__module__", None) == __name__


def _is_taken(handler: object) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return handler == signal.SIG_IGN or module.startswith("submitit.")


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what the system denies within the context into a `RunError`."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads what is said: no failure
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise RunError(f"{error.strerror or error}{where}") from error
    except (MemoryError, RuntimeError) as error:
        from nasrun.compute import process_group  # torch
        from nasrun.compute.device import is_out_of_memory

        if not is_out_of_memory(error) and process_group.is_lost(error):
            if torchrun.rank() == 0:  # torchrun is about to end this one, which first says why
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise RunError(
                "another process of this run has ended, and so does this one; with any number of "
                "processes, nasrun resume goes on from the last checkpoint"
            ) from error
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "out of memory: lower dataset.batch_size, space.channels or space.cells (retrain.* for "
            "a retraining)"
        ) from error

"""Keep standard output and standard error from deciding how a run ends.

A run that takes hours must not fail because its last line holds a letter that the terminal's
encoding lacks, because the output was closed (`>&-`), or because the disk behind it is full.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class SteadyStream:
    """A text stream whose writes never fail, but for a reader that went away (`| head`).

    The first failure is kept in `failure`; whatever follows goes nowhere.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        with self._noting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._noting():
            self._stream.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.failure = self.failure or error
            # Python flushes the stream once more at exit; let what it still holds go nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def steady() -> Iterator[list[OSError]]:
    """Make the standard streams steady within the context.

    The list has what failed on the first of them, once the context is left.
    """
    before = sys.stdout, sys.stderr
    failures: list[OSError] = []
    with contextlib.ExitStack() as stack:
        nowhere = None
        if None in before:  # closed before the program began
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        streams = [SteadyStream(stream or cast(TextIO, nowhere)) for stream in before]
        sys.stdout, sys.stderr = cast(list[TextIO], streams)
        try:
            yield failures
        finally:
            if streams[0].failure is None:
                with contextlib.suppress(BrokenPipeError):
                    streams[0].flush()
            failures += [streams[0].failure] if streams[0].failure is not None else []
            sys.stdout, sys.stderr = before

"""Checkpoints: all that a resumed run needs to become the run that was never interrupted.

Tensors and plain values only, so that reading one unpickles no objects. A new checkpoint replaces
the old one atomically, and the old one is kept until the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from nasrun.errors import UsageError, brief
from nasrun.protocols import Streams
from nasrun.randomness import RandomStreams
from nasrun.runs import RunFolder

FORMAT = 1
FILE, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
MAX_SHARE_OF_TIME = 0.05
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Checkpoint:
    """Saves after a step, unless steps are so short that saving would cost more than 5 % of the
    time; which steps are saved never changes the result."""

    def __init__(self, folder: RunFolder, signature: str, streams: Streams) -> None:
        assert isinstance(streams, RandomStreams)
        self._folder = folder
        self._signature = signature
        self._streams = streams
        self._cost_s = 0.0
        self._saved_at = float("-inf")

    def save(self, state: dict[str, Any], flush: Callable[[], None], *, always: bool) -> None:
        """`flush` brings the append-only files to disk before their lengths are noted."""
        started = time.monotonic()
        if not always and started - self._saved_at < self._cost_s / MAX_SHARE_OF_TIME:
            return
        flush()
        content = {
            "format": FORMAT,
            "signature": self._signature,
            "streams": self._streams.state_dict(),
            "append_only": self._folder.append_only_lengths(),
            **state,
        }
        with self._folder.replacing(FILE, keep_previous=PREVIOUS) as path:
            torch.save(content, path)
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - started

    def load(self) -> dict[str, Any] | None:
        """The state last saved, after the append-only files were cut back to it; `None` when the
        run has none yet. A checkpoint that was cut by a crash gives way to the previous one.

        Raises:
            UsageError: the checkpoint belongs to another configuration or format.
        """
        for name in (FILE, PREVIOUS):
            path = self._folder.path / name
            if not path.exists():
                continue
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
            except Exception:  # torch raises many kinds for a broken file
                continue
            self._check(path.name, content)
            with self.restoring():
                self._folder.cut_back(content["append_only"])
            assert isinstance(content, dict)
            return content
        self._folder.cut_back({})
        return None

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Around whatever takes a state over; raises a `UsageError` for one that does not fit,
        such as one that another program has written."""
        try:
            yield
        except torch.OutOfMemoryError:  # no fault of the state
            raise
        except MISFITS as error:
            reason = brief(" ".join(f"{type(error).__name__}: {error}".split()))
            raise UsageError(
                f"{self._folder.path / FILE} does not fit this run ({reason}): start a new run "
                f"with nasrun search or retrain, --from {self._folder.path}"
            ) from error

    def restore_streams(self, state: Mapping[str, Any]) -> None:
        """For after all objects that draw at construction were built, as in the first run."""
        self._streams.load_state_dict(state["streams"])

    def _check(self, name: str, content: Any) -> None:
        where = self._folder.path / name
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UsageError(f"{where} was written by another version of nasrun")
        if content.get("signature") != self._signature:
            raise UsageError(
                f"{where} belongs to another configuration than .hydra/config.yaml beside it"
            )

"""Save checkpoints: all that a resumed run needs to become the run that was never interrupted.

A new checkpoint replaces the old one atomically, when all that it relies on is on the disk, and the
old one is kept until the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasrun.compute.device import is_out_of_memory
from nasrun.compute.process_group import ALONE, ProcessGroup
from nasrun.config import identity
from nasrun.config.renamed import with_present_targets
from nasrun.errors import UsageError, brief
from nasrun.protocols.state import Streams
from nasrun.randomness import RandomStreams
from nasrun.runs.folder import RunFolder
from nasrun.storage.tensor_files import read_tensors, write_tensors
from nasrun.terminal.text import command

FORMAT = 2
FILE, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
MAX_SHARE_OF_TIME = 0.05
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Checkpoint:
    """The checkpoint of a run, saved after a step.

    Where steps are so short that saving would cost more than 5 % of the time, some are left out;
    which steps are saved never changes the result.

    Args:
        settings: `identity.decisive` of the run, to tell a checkpoint of another one.
        group: of processes; the first one writes and reads.
    """

    def __init__(
        self,
        folder: RunFolder,
        settings: Mapping[str, Any],
        streams: Streams,
        group: ProcessGroup = ALONE,
    ) -> None:
        assert isinstance(streams, RandomStreams)
        self._group = group
        self._folder = folder
        self._settings = dict(settings)
        self._streams = streams
        self._cost_s = 0.0
        self._saved_at = float("-inf")

    def save(self, state: Mapping[str, Any], *, always: bool) -> None:
        """Save a state; raise `RunError` where the disk does not take it."""
        started = time.monotonic()
        if not self._group.is_first:
            return
        if not always and started - self._saved_at < self._cost_s / MAX_SHARE_OF_TIME:
            return
        content = {
            "format": FORMAT,
            "settings": self._settings,
            "streams": self._streams.state_dict(),
            "append_only": self._folder.append_only_lengths(),
            **state,
        }
        with self._folder.replacing(FILE, keep_previous=PREVIOUS) as path:
            write_tensors(path, content)
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - started

    def load(self, tell: Callable[[str], None] = lambda text: None) -> dict[str, Any] | None:
        """Load the state last saved, and cut the append-only files back to it.

        It is `None` when the run has no checkpoint yet, and begins anew. In place of a file that a
        crash has broken the previous one is loaded.

        Args:
            tell: hears of a file that is broken.

        Raises:
            UsageError: the checkpoint belongs to another configuration or format, or it is broken,
                and so is the previous one.
        """
        return self._group.of_first(lambda: self._load(tell))

    def _load(self, tell: Callable[[str], None]) -> dict[str, Any] | None:
        present = [name for name in (FILE, PREVIOUS) if (self._folder.path / name).exists()]
        problems = list[str]()
        for name in present:
            content = self._read(name)
            problem = "is broken" if content is None else self._lost(content)
            if content is not None and problem is None:
                self._folder.cut_back(content["append_only"])
                if problems:
                    tell(f"{problems[0]}: the run goes on from {name}")
                    self._folder.remove(FILE)  # the next one would put it in the place of this
                return content
            problems.append(f"{name} {problem}")
        if PREVIOUS in present:
            raise UsageError(
                f"{self._folder.path} cannot be gone on with: {' and '.join(problems)}; to start "
                "from its beginning, delete what it has of these and type "
                f"{command('nasrun', 'resume', self._folder.path)}"
            )
        self._folder.cut_back({})
        if problems:
            tell(f"{problems[0]}: the run starts from its beginning")
        return None

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Raise a `UsageError` where a state does not fit that is taken over within the context.

        Another program may have written it.
        """
        try:
            yield
        except MISFITS as error:
            if is_out_of_memory(error):
                raise  # no fault of the state
            reason = brief(" ".join(f"{type(error).__name__}: {error}".split()))
            raise UsageError(
                f"{self._folder.path / FILE} does not fit this run, or not this version of "
                f"nasrun ({reason}): go on with the version that run.json names, or start a new "
                f"run with nasrun search or retrain, {command('--from', self._folder.path)}"
            ) from error

    def restore_streams(self, state: Mapping[str, Any]) -> None:
        """Restore the random streams.

        This comes after all objects that draw at construction were built, as in the first run.
        """
        self._streams.load_state_dict(state["streams"])

    def _read(self, name: str) -> dict[str, Any] | None:
        """Read a file; return `None` for what is broken, or no checkpoint at all."""
        with self._folder.in_words(name, "read"):
            content = read_tensors(self._folder.path / name)
        if content is None or "format" not in content:
            return None
        self._check(name, content)
        lengths = content.get("append_only")
        sound = isinstance(lengths, dict) and all(type(one) is int for one in lengths.values())
        return content if sound else None

    def _lost(self, content: Mapping[str, Any]) -> str | None:
        lost = self._folder.shorter_than(content["append_only"])
        return f"has more lines than are left in {' and '.join(lost)}" if lost else None

    def _check(self, name: str, content: Mapping[str, Any]) -> None:
        where = self._folder.path / name
        anew = f"start a new run, {command('nasrun', 'search', '--from', self._folder.path)}"
        if content.get("format") != FORMAT:
            raise UsageError(
                f"{where} was written by another version of nasrun (its format is "
                f"{content.get('format')}, this version reads {FORMAT}): go on with that version, "
                f"or {anew}"
            )
        settings = content.get("settings")
        settings = with_present_targets(settings) if isinstance(settings, dict) else {}
        if settings != self._settings:
            changes = identity.differences(settings, self._settings)
            raise UsageError(
                f"{where} belongs to another configuration than .hydra/config.yaml beside it "
                f"({changes}): put that back as it was, or {anew}"
            )


def settings_of(folder: Path) -> Mapping[str, Any]:
    """Return what the checkpoint of a run says of its configuration; empty without one."""
    for name in (FILE, PREVIOUS):
        content = read_tensors(folder / name) if (folder / name).is_file() else None
        if content is not None and isinstance(content.get("settings"), dict):
            return with_present_targets(content["settings"])
    return {}

"""Do the work of a checked run, and mark its folder: running, done, failed or interrupted."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import DictConfig

from nasrun.errors import RunError, UsageError
from nasrun.launch.interruption import in_words, terminated_as_interrupted
from nasrun.launch.tracker import TrackerOfRun
from nasrun.protocols.result import Result
from nasrun.runs.folder import RUN_FILE, RunFolder, now
from nasrun.terminal.progress import Display
from nasrun.terminal.text import command

if TYPE_CHECKING:
    from nasrun.compute.process_group import ProcessGroup


@dataclass
class Prepared:
    """A checked run that has not written anything yet.

    `record` goes into `run.json`; `run` does the work in the folder and returns the result;
    `settings` are all that decides it; `num_bytes` is about what it will write; `group` are the
    processes that do it together; `tracker` records it elsewhere, where there is one.
    """

    record: Mapping[str, Any]
    run: Callable[[RunFolder], Result]
    settings: Mapping[str, Any]
    num_bytes: int
    group: ProcessGroup
    tracker: TrackerOfRun | None = None


class Prepare(Protocol):
    """Check a run, whose progress `display` shows.

    `choices` are group -> chosen option, `places` key -> where a file is that has moved.
    """

    def __call__(
        self,
        config: DictConfig,
        overrides: Sequence[str],
        choices: Mapping[str, str],
        *,
        display: Display | None = None,
        places: Mapping[str, str] = ...,
    ) -> Prepared: ...


def supervise(folder: RunFolder, prepared: Prepared) -> Result:
    """Do the work and mark the folder done, failed or interrupted."""
    with terminated_as_interrupted():
        try:
            with in_words():
                _require_alike(prepared)
                result = prepared.run(folder)
            folder.update(status="done", finished=now())
        except (KeyboardInterrupt, SystemExit) as stop:
            with suppress(UsageError, RunError):  # unmarked it is gone on with as well
                folder.update(status="interrupted", finished=now())
            if isinstance(stop, SystemExit):  # of submitit, which puts the job back into the queue
                raise
            message = f"interrupted; `{command('nasrun', 'resume', short(folder.path))}` goes on"
            raise KeyboardInterrupt(message) from None
        except BaseException as error:
            mark_failed(folder, error)
            raise
        return result


def require_space(folder: RunFolder, prepared: Prepared) -> None:
    if prepared.group.is_first:  # the others write next to nothing
        folder.require_space(prepared.num_bytes)


def _require_alike(prepared: Prepared) -> None:
    """Raise a `RunError` unless all processes do the same on the same."""
    from nasrun.compute.process_group import require_same  # torch

    for name in ("signature", "data"):
        require_same(prepared.group, name, prepared.record[name])


def mark_failed(folder: RunFolder, error: BaseException) -> None:
    """Write into `run.json` and `error.log` why a job failed, if that can be written."""
    text = str(error) or repr(error)
    # the error is on its way already: a second one would hide it
    with suppress(OSError, UsageError, RunError):
        record = folder.read_json(RUN_FILE)
        # the same failure passes here twice: in the run, and in its sweep
        if (record.get("status"), record.get("error")) == ("failed", text):
            return
        mistake = isinstance(error, UsageError)
        folder.update(status="failed", finished=now(), error=text, users_mistake=mistake)
        with (folder.path / "error.log").open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)


def short(folder: Path) -> Path:
    """Return the folder as a person would type it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder

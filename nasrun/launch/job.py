"""What the Hydra commands share: one job, from its configuration to its marked folder.

Hydra stores a job's exception and shows the first of a sweep at the end, so a job that fails is
marked, told and logged here.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nasrun.compute import cancellation, torchrun
from nasrun.config import checks, identity
from nasrun.engine.summary import summary
from nasrun.errors import RunError, UsageError, raise_together
from nasrun.launch.interruption import in_words, terminated_as_interrupted
from nasrun.launch.replay import Source, is_setting, load_config, load_recorded
from nasrun.protocols.result import Result
from nasrun.runs.choices import recorded_choices
from nasrun.runs.folder import RUN_FILE, RunFolder, new_folder, now, read_json, require_no_run
from nasrun.runs.sweep import Job, Sweep
from nasrun.terminal import console

if TYPE_CHECKING:
    from nasrun.compute.process_group import ProcessGroup


@dataclass
class Prepared:
    """A checked run that has not written anything yet.

    `record` goes into `run.json`; `run` does the work in the folder and returns the result;
    `settings` are all that decides it; `num_bytes` is about what it will write; `group` are the
    processes that do it together.
    """

    record: Mapping[str, Any]
    run: Callable[[RunFolder], Result]
    settings: Mapping[str, Any]
    num_bytes: int
    group: ProcessGroup


@dataclass
class Outcome:
    """How one job of a command ended."""

    number: int
    folder: Path
    overrides: Sequence[str]
    result: Result | None = None
    error: Exception | None = None


class Prepare(Protocol):
    """Check a run; one that is quiet shows no progress. `choices` are group -> chosen option."""

    def __call__(
        self,
        config: DictConfig,
        overrides: Sequence[str],
        choices: Mapping[str, str],
        *,
        quiet: bool = False,
    ) -> Prepared: ...


class Jobs:
    """What Hydra calls for each job of a command. Every exception but an interruption becomes part
    of the job's outcome.

    Args:
        kind: the command: `search` or `retrain`.
        command: the command line as it was typed.
        arguments: what Hydra is given.
        source: the run whose settings are repeated, if any.
        resumed: the sweep that is gone on with, if any.
    """

    def __init__(
        self,
        kind: str,
        prepare: Prepare,
        command: str,
        arguments: Sequence[str],
        source: Source | None,
        resumed: Sweep | None,
    ) -> None:
        self.kind = kind
        self.prepare = prepare
        self.command = command
        self.arguments = arguments
        self.resumed = resumed
        self.sweep: Sweep | None = None  # the one that has begun
        self.at_once = False  # its jobs run elsewhere, and others tell how they do
        self.outcomes: list[Outcome] = []
        self._source = source

    def __call__(self, config: DictConfig) -> float:
        cancellation.look()
        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
        assert isinstance(overrides, list)
        swept = settings.mode == RunMode.MULTIRUN
        outcome = Outcome(settings.job.num if swept else 0, folder, overrides)
        try:
            self._require_its_folder(outcome)
            with in_words():
                begun = self._begun(outcome)
                if begun is None:
                    outcome.result = self._run(config, settings, outcome, swept)
                else:
                    outcome.result = self._go_on(begun)
        except Exception as error:
            outcome.error = error
            if swept:
                self.give_up(outcome, error)
        finally:
            _remove_empty(folder)
        self.outcomes.append(outcome)
        return _objective(outcome.result)

    def _run(
        self, config: DictConfig, settings: Any, outcome: Outcome, swept: bool
    ) -> Result | None:
        raise_together(self._unread(config, outcome))
        # the progress of jobs that run at once would mingle
        quiet = self.at_once or settings.runtime.choices["hydra/launcher"] != "basic"
        prepared = self.prepare(config, outcome.overrides, settings.runtime.choices, quiet=quiet)
        if self._source is not None:
            self._source.warn_of_other_data(prepared.record)
        if swept and not self.at_once:
            console.say(f"job {outcome.number}: {' '.join(outcome.overrides)}")
        default = not swept and is_default("hydra.run.dir", settings)
        with new_folder(outcome.folder, require_no_run, is_default=default) as run:
            if run.path != outcome.folder:
                outcome.folder = run.path
                with read_write(settings), open_dict(settings):
                    settings.runtime.output_dir = str(run.path)
            _require_space(run, prepared)
            _write_hydra_folder(run, config, settings, outcome.overrides)
            run.start({**self._record(outcome), **prepared.record})
            result = supervise(run, prepared)
        if not swept:
            console.say(summary(_short(outcome.folder), result))
        elif not self.at_once:
            console.say(f"job {outcome.number} is done")
        return result

    def _begun(self, outcome: Outcome) -> Job | None:
        """The job of our sweep that has begun in this folder: it was interrupted, or a cluster has
        killed it and put it back into the queue. The run of another sweep is never taken over."""
        for job in self.sweep.jobs if self.sweep is not None else ():
            if job.number == outcome.number:
                record = job.record()
                ours = record.get("overrides") == list(outcome.overrides)
                return job if "signature" in record and ours else None
        return None

    def _go_on(self, job: Job) -> Result | None:
        if job.record().get("status") == "done":  # as it was put back into the queue
            return job.result()
        if not self.at_once:
            console.say(f"job {job.number} goes on: {' '.join(job.overrides)}")
        return go_on(job.folder, partial(self.prepare, quiet=self.at_once))

    def _unread(self, config: DictConfig, outcome: Outcome) -> Iterator[str]:
        """What was typed and has no effect. What an earlier run has set for another strategy need
        not be read by this one."""
        if "strategy" in config:
            kept = self._source.kept if self._source else ()
            typed = [override for override in outcome.overrides if override not in kept]
            yield from checks.unread_overrides(config, typed)

    def _require_its_folder(self, outcome: Outcome) -> None:
        """A sweep may be resumed from a stranger's record, which could send Hydra elsewhere."""
        for job in self.sweep.jobs if self.sweep is not None else ():
            if job.number == outcome.number and job.folder.resolve() != outcome.folder.resolve():
                outcome.folder = job.folder
                raise UsageError(f"hydra.sweep.subdir leads job {job.number} out of {job.folder}")

    def give_up(self, outcome: Outcome, error: Exception) -> None:
        """Say that a job of a sweep failed, and say why in its own folder."""
        if not self.at_once:
            console.complain(f"job {outcome.number} failed: {error}")
        if not isinstance(error, UsageError | RunError):
            traceback.print_exception(error)
        # in use: the record is that of another process; or the disk is full
        with suppress(UsageError, RunError), RunFolder(outcome.folder) as run:
            if not (run.path / RUN_FILE).exists():
                run.start(self._record(outcome))
            elif self.sweep is None:
                return  # a sweeper that is not ours may be told to use the folder of another run
            mark_failed(run, error)

    def _record(self, outcome: Outcome) -> dict[str, Any]:
        return {"command": self.command, "kind": self.kind, "overrides": list(outcome.overrides)}


def is_default(key: str, settings: Any) -> bool:
    """Whether a folder has the name that `conf/` gives it, and not one that a person typed."""
    return not any(word.lstrip("+").startswith(f"{key}=") for word in settings.overrides.hydra)


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
            message = f"interrupted; `nasrun resume {_short(folder.path)}` goes on"
            raise KeyboardInterrupt(message) from None
        except BaseException as error:
            mark_failed(folder, error)
            raise
        return result


def _require_space(folder: RunFolder, prepared: Prepared) -> None:
    if prepared.group.is_first:  # the others write next to nothing
        folder.require_space(prepared.num_bytes)


def _require_alike(prepared: Prepared) -> None:
    """Raise a `RunError` unless all processes do the same on the same."""
    from nasrun.compute.process_group import require_same  # torch

    for name in ("signature", "data"):
        require_same(prepared.group, name, prepared.record[name])


def mark_failed(folder: RunFolder, error: BaseException) -> None:
    """Write into `run.json` and `error.log` why a job failed, unless they say so already, or can no
    longer be written."""
    text = str(error) or repr(error)
    with suppress(OSError, UsageError, RunError):
        record = folder.read_json(RUN_FILE)
        if (record.get("status"), record.get("error")) == ("failed", text):
            return
        mistake = isinstance(error, UsageError)
        folder.update(status="failed", finished=now(), error=text, users_mistake=mistake)
        with (folder.path / "error.log").open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)


def go_on(path: Path, prepare: Prepare) -> Result:
    """Go on with a run that has begun, from its last checkpoint; returns its result.

    Raises:
        UsageError: what is recorded is not what it began with, or cannot be read.
    """
    record = read_json(path / RUN_FILE)
    overrides = record.get("overrides")
    if not isinstance(overrides, list) or not all(map(is_setting, overrides)):
        raise UsageError(f"{path / RUN_FILE} is not the record of a run")
    with _workplace(path) as folder, in_words():
        prepared = prepare(load_config(path), overrides, recorded_choices(path))
        if record.get("signature") != _signature_then(path, prepared):
            raise UsageError(
                f"{path}/.hydra/config.yaml is no longer the configuration that the run began "
                f"with{_changes(path, prepared.settings)}: put it back as it was, or start a new "
                "run with nasrun search or retrain"
            )
        if (
            record.get("kind") == "retrain"
            and record.get("genotype") != prepared.record["genotype"]
        ):
            raise UsageError(
                f"{path}: genotype={prepared.settings['genotype']} is no longer the genotype that "
                "the run began with: put it back as it was, or start a new run with nasrun retrain"
            )
        _require_space(folder, prepared)
        Source(path, record).warn_of_other_data(prepared.record)
        if record.get("processes", 1) == prepared.group.size:
            _as_many_threads(record.get("threads"))
        kept = {key: prepared.record[key] for key in ("processes", "device")}
        folder.update(status="running", error=None, threads=_num_threads(), **kept)
        return supervise(folder, prepared)


def _signature_then(path: Path, prepared: Prepared) -> str:
    """The signature that the run has if its configuration is unchanged: with the targets of its
    plug-ins as they were called when it began."""
    recorded = dict(identity.leaves(OmegaConf.to_container(load_recorded(path))))
    return identity.signature_of(
        {
            key: recorded[key] if key.endswith("._target_") and key in recorded else value
            for key, value in prepared.settings.items()
        }
    )


@contextmanager
def _workplace(path: Path) -> Iterator[RunFolder]:
    """The folder of a run that has begun. Only the first process of several works in it; another
    one has a copy of the record, in a place that does not last."""
    if torchrun.rank() == 0:
        with RunFolder(path) as folder:
            yield folder
    else:
        with torchrun.place_of_follower() as place, RunFolder(place) as folder:
            shutil.copy(path / RUN_FILE, place)
            yield folder


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def _as_many_threads(num_threads: object) -> None:
    """As many as the run began with, or its sums would be rounded in another order."""
    import torch

    if type(num_threads) is int and 1 <= num_threads <= 4096:
        torch.set_num_threads(num_threads)


def _changes(path: Path, settings: Mapping[str, Any]) -> str:
    """In brackets, what differs from the settings that the checkpoint has, if there is one."""
    from nasrun.runs.checkpoint import settings_of  # torch

    recorded = settings_of(path)
    return f" ({identity.differences(recorded, settings)})" if recorded else ""


def _write_hydra_folder(
    run: RunFolder, config: DictConfig, settings: Any, overrides: Sequence[str]
) -> None:
    """`.hydra/` as Hydra writes it, with all interpolations resolved. Hydra itself would write it
    before anything was checked, over the record of an earlier run in the same folder."""
    contents = {
        "config": OmegaConf.create(OmegaConf.to_container(config, resolve=True)),
        "hydra": OmegaConf.create({"hydra": settings}),
        "overrides": OmegaConf.create(list(overrides)),
    }
    (run.path / ".hydra").mkdir(exist_ok=True)
    for name, content in contents.items():
        run.write_text(f".hydra/{name}.yaml", OmegaConf.to_yaml(content))


def _remove_empty(folder: Path) -> None:
    """Remove what Hydra makes before a job is checked, so that a refused job leaves nothing behind.

    A folder in which another process is about to begin is left alone, and so are the current
    folder and those that it lies in.
    """
    here = Path.cwd()
    if not folder.is_dir() or (folder / RUN_FILE).exists():
        return
    with suppress(UsageError, OSError), RunFolder(folder):
        if {path.name for path in folder.glob("*")} <= {".lock"}:
            (folder / ".lock").unlink()
            folder.rmdir()
            for path in (folder.parent, folder.parent.parent):
                if here in path.parents:
                    path.rmdir()


def _short(folder: Path) -> Path:
    """The folder as a person would type it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _objective(result: Result | None) -> float:
    """Return what a sweeper minimises: the validation error where there is one."""
    accuracy = None if result is None else result.search_val_accuracy
    return float("nan") if accuracy is None else 1.0 - accuracy

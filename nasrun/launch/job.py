"""Do one job of a Hydra command, from its configuration to its marked folder.

Hydra stores a job's exception and shows the first of a sweep at the end, so a job that fails is
marked, told and logged here.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nasrun.config import catalogue, checks, outside, plugins
from nasrun.engine.summary import summary
from nasrun.errors import RunError, UsageError, raise_together
from nasrun.launch import places as located
from nasrun.launch import tracker
from nasrun.launch.interruption import in_words, terminated_as_interrupted
from nasrun.launch.replay import Source, load_config
from nasrun.launch.resuming import go_on
from nasrun.launch.supervision import Prepare, mark_failed, require_space, short, supervise
from nasrun.protocols.result import Result
from nasrun.runs.folder import RUN_FILE, RunFolder, new_folder, require_no_run
from nasrun.runs.sweep import Job, Sweep, ended_with
from nasrun.terminal import console
from nasrun.terminal.pace import Tally
from nasrun.terminal.progress import Display


@dataclass
class Outcome:
    """How one job of a command ended."""

    number: int
    folder: Path
    overrides: Sequence[str]
    result: Result | None = None
    error: Exception | None = None


class Jobs:
    """What Hydra calls for each job; every exception but an interruption becomes an outcome.

    Args:
        kind: the command: `search` or `retrain`.
        command: the command line as it was typed.
        arguments: what Hydra is given.
        source: the run whose settings are repeated, if any.
        resumed: the sweep that is gone on with, if any.
        moved: of its files, key -> where they are now.
    """

    def __init__(
        self,
        kind: str,
        prepare: Prepare,
        command: str,
        arguments: Sequence[str],
        source: Source | None,
        resumed: Sweep | None,
        moved: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.kind = kind
        self.prepare = prepare
        self.command = command
        self.arguments = arguments
        self.resumed = resumed
        self.sweep: Sweep | None = None  # the one that has begun
        self.at_once = False  # its jobs run elsewhere, and others tell how they do
        self.outcomes: list[Outcome] = []
        self.tally: Tally | None = None  # of a sweep whose jobs run one after the other, here
        self._source = source
        self._start = Path.cwd()
        if resumed is not None and resumed.cwd is not None:
            self._start = Path(resumed.cwd)
        self._moved = dict(moved)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a process of a launcher gets: also the plug-ins that the person has typed."""
        return {**vars(self), "_plugins": outside.names()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in state.pop("_plugins"):
            outside.use(name, catalogue.conf_dir())
        vars(self).update(state)

    def __call__(self, config: DictConfig) -> float:
        settings = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
        assert isinstance(overrides, list)
        swept = settings.mode == RunMode.MULTIRUN
        outcome = Outcome(settings.job.num if swept else 0, folder, overrides)
        try:
            self._require_its_folder(outcome)
            with terminated_as_interrupted(), in_words():
                begun = self._begun(outcome)
                if begun is None:
                    outcome.result = self._run(config, settings, outcome, swept)
                else:
                    outcome.result = self._go_on(begun, config)
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
        raise_together(self.unread(config, outcome.overrides))
        # the progress of jobs that run at once would mingle
        quiet = self.at_once or settings.runtime.choices["hydra/launcher"] != "basic"
        places = self.places(config)
        if self.resumed is not None:  # its record has the words
            config = tracker.without_address(config, self._moved, self.resumed.home)
        prepared = self.prepare(
            config,
            outcome.overrides,
            settings.runtime.choices,
            display=Display(quiet, jobs=self.tally),
            places=places,
        )
        if self._source is not None:
            self._source.warn_of_other_data(prepared.record)
        if prepared.tracker is not None and not swept:  # a sweep has looked before its first job
            prepared.tracker.require()
        if swept and not self.at_once:
            console.say(f"job {outcome.number}{self._nth}: {' '.join(outcome.overrides)}")
        default = not swept and is_default("hydra.run.dir", settings)
        with new_folder(outcome.folder, require_no_run, is_default=default) as run:
            if run.path != outcome.folder:
                outcome.folder = run.path
                with read_write(settings), open_dict(settings):
                    settings.runtime.output_dir = str(run.path)
            require_space(run, prepared)
            _write_hydra_folder(run, config, settings, outcome.overrides)
            run.start({**self._record(outcome), **_from_outside(config), **prepared.record})
            if not swept:
                console.say(f"{short(outcome.folder)}: device {prepared.record['device']}")
            result = supervise(run, prepared)
        if not swept:
            console.say(summary(short(outcome.folder), result, console.width(sys.stdout)))
        elif not self.at_once:
            self._tell_end(outcome.number, result)
        return result

    @property
    def _nth(self) -> str:
        return "" if self.tally is None else f" ({self.tally.place})"

    def _tell_end(self, number: int, result: Result | None) -> None:
        """Say how good a job's result is, and how far the sweep is now."""
        so_far = ""
        if self.tally is not None:
            self.tally.add()
            so_far = f" ({self.tally})"
        console.say(f"job {number} is done{ended_with(result)}{so_far}")

    def _begun(self, outcome: Outcome) -> Job | None:
        """Return the job of our sweep that has begun in this folder, never that of another one.

        It was interrupted, or a cluster has killed it and put it back into the queue.
        """
        for job in self.sweep.jobs if self.sweep is not None else ():
            if job.number == outcome.number:
                record = job.record()
                ours = record.get("overrides") == list(outcome.overrides)
                return job if "signature" in record and ours else None
        return None

    def _go_on(self, job: Job, config: DictConfig) -> Result | None:
        if job.record().get("status") == "done":  # as it was put back into the queue
            return job.result()
        if not self.at_once:
            console.say(f"job {job.number} goes on{self._nth}: {' '.join(job.overrides)}")
        own = {key for key, _ in located.named(load_config(job.folder))}
        moved = {key: self._moved[key] for key in self._moved if key in own}
        if self.resumed is None:  # put back into the queue: the words are still the person's
            moved |= tracker.addresses(config)
        display = Display(self.at_once, jobs=self.tally)
        result = go_on(job.folder, partial(self.prepare, display=display), moved)
        if not self.at_once:
            self._tell_end(job.number, result)
        return result

    def places(self, config: DictConfig) -> Mapping[str, str]:
        """Return key -> where a file is now, of those that are elsewhere than they are said."""
        return located.now(config, self._start, self._moved)

    def unread(self, config: DictConfig, overrides: Sequence[str]) -> Iterator[str]:
        """Yield a sentence for each override that was typed and that nothing reads."""
        if "strategy" in config:
            # what an earlier run has set for another strategy need not be read by this one
            kept = self._source.kept if self._source else ()
            typed = [override for override in overrides if override not in kept]
            yield from checks.unread_overrides(config, typed)

    def _require_its_folder(self, outcome: Outcome) -> None:
        """Raise a `UsageError` where Hydra has another folder for the job than the sweep's."""
        for job in self.sweep.jobs if self.sweep is not None else ():
            # the record may be a stranger's, and could send Hydra elsewhere
            if job.number == outcome.number and job.folder.resolve() != outcome.folder.resolve():
                outcome.folder = job.folder
                raise UsageError(f"hydra.sweep.subdir leads job {job.number} out of {job.folder}")

    def give_up(self, outcome: Outcome, error: Exception) -> None:
        """Say that a job of a sweep failed, and say why in its own folder."""
        if not self.at_once:
            console.complain(f"job {outcome.number} failed: {error}")
        if not isinstance(error, UsageError | RunError):
            traceback.print_exception(error)
        self.mark(outcome, error)

    def mark(self, outcome: Outcome, error: Exception) -> None:
        """Write into the folder of a job of a sweep why it failed."""
        # in use: the record is that of another process; or the disk is full
        with suppress(UsageError, RunError), RunFolder(outcome.folder) as run:
            if not (run.path / RUN_FILE).exists():
                run.start(self._record(outcome))
            elif self.sweep is None:
                return  # a sweeper that is not ours may be told to use the folder of another run
            mark_failed(run, error)

    def _record(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "command": self.command,
            "kind": self.kind,
            "overrides": list(outcome.overrides),
            "cwd": str(self._start),  # what relative paths refer to
            **({"places": self._moved} if self._moved else {}),
        }


def _from_outside(config: DictConfig) -> dict[str, Any]:
    """Return what a record says of the plug-ins from outside that a run is made of."""
    used = outside.recorded(plugins.targets(OmegaConf.to_container(config, resolve=False)))
    return {"plugins": used} if used else {}


def is_default(key: str, settings: Any) -> bool:
    """Whether a folder has the name that `conf/` gives it, and not one that a person typed."""
    return not any(word.lstrip("+").startswith(f"{key}=") for word in settings.overrides.hydra)


def _write_hydra_folder(
    run: RunFolder, config: DictConfig, settings: Any, overrides: Sequence[str]
) -> None:
    """Write `.hydra/` as Hydra does, with all interpolations resolved.

    Hydra itself would do so before anything was checked, over the record of an earlier run.
    """
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


def _objective(result: Result | None) -> float:
    """Return what a sweeper minimises: 1 less what the search maximises, where that is known."""
    score = None if result is None else result.search_score
    return float("nan") if score is None else 1.0 - score

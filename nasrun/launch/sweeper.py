"""Sweep over the combinations of Hydra's basic sweeper, with a record from which it can go on.

Jobs run one after the other in this process, or at once, with other launchers. The sweeper writes
`sweep.json` before the first job, goes on after a job that failed, skips what is done when it is
resumed, and composes up front only jobs that can differ in whether they compose.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper as Plugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nasrun.config import outside
from nasrun.config.flags import in_quotes
from nasrun.config.hydra_errors import sentence
from nasrun.config.schema import OnError
from nasrun.errors import RunError, UsageError, raise_together
from nasrun.launch import foresight
from nasrun.launch.composing import Composer
from nasrun.launch.interruption import terminated_as_interrupted
from nasrun.launch.job import Jobs, Outcome, is_default
from nasrun.launch.launchers import SLOTS, Engine, require_usable
from nasrun.launch.watch import Watch
from nasrun.runs import job_folders
from nasrun.runs.folder import RUN_FILE, RunFolder, new_folder, now
from nasrun.runs.sweep import Job, Sweep, named
from nasrun.terminal import console
from nasrun.terminal.pace import Tally

PATIENCE_S = 5.0  # for jobs that were told to stop


class Sweeper(Plugin):
    """A sweeper with a record. Hydra finds it by `hydra_plugins/nasrun.py`.

    Args:
        params: of a recipe: swept keys and their values; those of the command line win.
    """

    def __init__(self, params: Mapping[str, str] | None) -> None:
        self._params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        assert isinstance(task_function, Jobs)
        chosen = config.hydra.runtime.choices["hydra/launcher"]
        require_usable(chosen, config)
        task_function.at_once = chosen != "basic"
        if task_function.at_once and config.sweep.on_error == OnError.stop:
            raise UsageError(
                f"sweep.on_error=stop is not possible with hydra/launcher={chosen}, which starts "
                "jobs before others have ended: leave one of them out"
            )
        self._context = hydra_context
        self._composer = Composer(hydra_context.config_loader)
        self._master = config
        self._jobs = task_function

    def sweep(self, arguments: list[str]) -> Any:
        home = Path(os.path.normpath(str(self._master.hydra.sweep.dir)))
        if self._jobs.at_once:  # a process of a cluster may be in another folder
            home = home.absolute()
        if self._jobs.resumed is not None:
            self._settle(home)
            with RunFolder(home), terminated_as_interrupted():
                self._work_in(self._jobs.resumed.at(home))
            return
        default = is_default("hydra.sweep.dir", self._master.hydra)
        self._settle(home)
        planned = self._new(home, arguments)
        found = foresight.mistakes(self._jobs, self._composer, self._master, planned.jobs)
        if len(found) == len(planned.jobs):
            raise_together(
                f"{problem} ({named(numbers)})" if len(numbers) < len(found) else problem
                for problem, numbers in foresight.told(found).items()
            )
        with (
            new_folder(home, planned.require_new_at, is_default=default) as folder,
            terminated_as_interrupted(),
        ):
            if folder.path != home:
                self._settle(folder.path)
            sweep = planned.at(folder.path)
            sweep.write(folder)
            folder.write_text("multirun.yaml", OmegaConf.to_yaml(self._master))
            self._work_in(sweep, found)

    def _settle(self, home: Path) -> None:
        """Make a folder that of the sweep and all its jobs, whatever they are composed of."""
        with read_write(self._master.hydra):
            self._master.hydra.sweep.dir = str(home)
            word = f"hydra.sweep.dir={in_quotes(str(home))}"
            self._master.hydra.overrides.hydra.append(word)
        self._composer.forget()

    def _work_in(
        self, sweep: Sweep, mistakes: Mapping[int, UsageError] = MappingProxyType({})
    ) -> None:
        self._jobs.sweep = sweep
        if self._names_folders():
            for job in sweep.jobs:
                own = job_folders.for_hydra(job.number, str(job.folder.relative_to(sweep.home)))
                if own is not None:
                    self._composer.folders[tuple(job.overrides)] = own
        left = self._without(mistakes, sweep.jobs)
        if left:
            self._work(sweep.home, left)

    def _without(self, mistakes: Mapping[int, UsageError], jobs: Sequence[Job]) -> Sequence[Job]:
        """Say what is wrong with jobs, each mistake once, and mark them; return those to be run."""
        for problem, numbers in foresight.told(mistakes).items():
            console.complain(f"{named(numbers)} failed: {problem}")
        for job in jobs:
            if (error := mistakes.get(job.number)) is not None:
                outcome = Outcome(job.number, job.folder, job.overrides, error=error)
                self._jobs.mark(outcome, error)
                self._jobs.outcomes.append(outcome)
        if mistakes and self._master.sweep.on_error == OnError.stop:
            console.complain("sweep.on_error=stop: the jobs that are left are not run")
            return []
        return [job for job in jobs if job.number not in mistakes]

    def _names_folders(self) -> bool:
        """Whether the names of the jobs' folders are ours to choose."""
        hydra = self._master.hydra
        raw = OmegaConf.to_container(hydra.sweep, resolve=False)
        assert isinstance(raw, dict)
        return raw["subdir"] == job_folders.NUMBER and is_default("hydra.sweep.subdir", hydra)

    def _new(self, home: Path, arguments: Sequence[str]) -> Sweep:
        """Make the sweep of the command line and `hydra.sweeper.params`, and check it."""
        # Hydra executes the modules of its plug-ins again when it looks for them, so not above
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        parser = OverridesParser.create(config_loader=self._context.config_loader)
        words = [*(f"{key}={values}" for key, values in self._params.items()), *arguments]
        overrides = parser.parse_overrides(words)
        for override in overrides:
            if override.value_type == ValueType.INTERVAL_SWEEP:
                typed, key = override.input_line, override.key_or_group
                raise UsageError(
                    f"{typed} has no steps, and a sweep needs values: type {key}=range(0,3) for "
                    f"whole numbers, or {key}=0.1,0.2,0.3"
                )
        (combinations,) = BasicSweeper.split_arguments(overrides, None)
        if not combinations:
            raise UsageError("the sweep has no jobs: one of its ranges is empty")
        self._composer.check(self._master, combinations)
        if self._names_folders():
            names = job_folders.names(combinations)
        else:
            names = [self._subdir(number, one) for number, one in enumerate(combinations)]
        jobs = [
            Job(number, Path(os.path.normpath(home / name)), one)
            for number, (name, one) in enumerate(zip(names, combinations, strict=True))
        ]
        about = self._jobs
        sweep = Sweep(home, about.kind, about.command, about.arguments, jobs, os.getcwd())
        sweep = replace(sweep, plugins=outside.typed_checksums())
        sweep.require_folders()
        return sweep

    def _subdir(self, number: int, overrides: Sequence[str]) -> str:
        """Return the job's folder inside the sweep, which a person or a recipe has named.

        The job has to be composed to know it.
        """
        config = self._composer.load_sweep_config(self._master, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # what ${hydra:...} refers to
        subdir = str(config.hydra.sweep.subdir)
        HydraConfig.instance().set_config(self._master)
        return subdir

    def _work(self, home: Path, jobs: Sequence[Job]) -> None:
        waiting = [job for job in jobs if job.record().get("status") != "done"]
        if len(waiting) < len(jobs):
            console.say(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs are done already")
        for job in waiting:
            if "signature" not in job.record():  # failed before it began
                (job.folder / RUN_FILE).unlink(missing_ok=True)
        if not waiting:
            return
        engine = Engine(self._context, self._composer, self._master, self._jobs, home, len(waiting))
        if not self._jobs.at_once:
            self._jobs.tally = Tally(len(jobs), len(jobs) - len(waiting))
            self._run_one_by_one(engine, waiting)
            return
        try:
            with Watch(waiting, engine.why_they_wait):
                engine.await_earlier()
                left = [job for job in waiting if job.record().get("status") != "done"]
                for job in waiting:
                    if job not in left:
                        self._note(job, None)
                if left:
                    self._run_at_once(engine, left)
        except KeyboardInterrupt:
            engine.stop()
            _mark_interrupted(waiting)
            raise
        finally:
            shutil.rmtree(home / SLOTS, ignore_errors=True)

    def _run_one_by_one(self, engine: Engine, jobs: Sequence[Job]) -> None:
        for job in jobs:
            outcome = Outcome(job.number, job.folder, job.overrides)
            try:
                engine.launch([job])
                outcome = self._jobs.outcomes[-1]
            except Exception as error:
                told = sentence(error, [self._jobs.kind, *job.overrides])
                outcome.error = error if told is None else UsageError(told)
                self._jobs.give_up(outcome, outcome.error)
                self._jobs.outcomes.append(outcome)
            if outcome.error is not None and self._jobs.tally is not None:
                self._jobs.tally.add()
            if outcome.error is not None and self._master.sweep.on_error == OnError.stop:
                console.complain("sweep.on_error=stop: the jobs that are left are not run")
                return

    def _run_at_once(self, engine: Engine, jobs: Sequence[Job]) -> None:
        """Run the jobs in other processes; read from their folders what became of them."""
        outcomes = list(self._jobs.outcomes)
        try:
            returns = engine.launch(jobs)
        except Exception as error:
            self._after_a_crash(engine, jobs, error)
            return
        self._jobs.outcomes = outcomes  # without those of jobs that ran in this process after all
        for job, returned in zip(jobs, returns, strict=True):
            failed = returned.status == JobStatus.FAILED
            self._note(job, returned._return_value if failed else None)

    def _after_a_crash(self, engine: Engine, jobs: Sequence[Job], error: Exception) -> None:
        """Go on after a process was killed, or the launcher has failed.

        The system may have killed it for want of memory. What had begun and is not done is for
        `nasrun resume`; what had not gets new processes.
        """
        if not engine.has_submitted:
            for job in jobs:
                self._note(job, RunError(f"it could not be submitted: {error}"))
            return
        fates = {job.number: engine.fate(job) for job in jobs}
        rest = [job for job in jobs if not job.record() and fates[job.number] is None]
        hopeless = len(rest) == len(jobs)
        if not any(fates.values()):
            console.complain(f"a worker process has died: {type(error).__name__}")
        if hopeless:
            console.complain(str(error))
        killed = "its process was killed, or another one beside it"
        for job in jobs if hopeless else [job for job in jobs if job not in rest]:
            self._note(job, RunError(fates[job.number] or killed))
        if rest and not hopeless:
            self._run_at_once(engine, rest)

    def _note(self, job: Job, error: Exception | None) -> None:
        """Note the outcome of a job that ran in another process; `error` is what is known there."""
        outcome = Outcome(job.number, job.folder, job.overrides)
        record = job.record()
        if record.get("status") == "done":
            outcome.result = job.result()
        elif record.get("status") == "failed" or error is None:
            kind = UsageError if record.get("users_mistake") is True else RunError
            outcome.error = kind(str(record.get("error") or "it did not finish"))
        else:
            outcome.error = error
            self._jobs.give_up(outcome, error)
            if job.record().get("status") != "failed":  # its folder cannot be written
                console.complain(f"job {job.number} failed: {error}")
        self._jobs.outcomes.append(outcome)


def _mark_interrupted(jobs: Sequence[Job]) -> None:
    """Mark jobs that were stopped, which have no time to do so themselves.

    One that is still alive after a while, on another machine, is left to itself.
    """
    until = time.monotonic() + PATIENCE_S
    running = [job for job in jobs if job.record().get("status") == "running"]
    while running and time.monotonic() < until:
        for job in running:
            with suppress(UsageError, RunError), RunFolder(job.folder) as folder:  # else in use
                if job.record().get("status") == "running":
                    folder.update(status="interrupted", finished=now())
        running = [job for job in running if job.record().get("status") == "running"]
        time.sleep(0.1 if running else 0.0)

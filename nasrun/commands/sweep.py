"""The sweeper: the combinations of Hydra's basic one, in a sweep that survives.

Jobs run one after the other in this process, or several at once with `hydra/launcher=joblib`. The
sweeper writes `sweep.json` before the first job, goes on after a job that failed, skips what is
done when it is resumed, and composes up front only jobs that can differ in whether they compose.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper as Plugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nasrun import ui
from nasrun.commands.composing import Composer
from nasrun.commands.interruption import terminated_as_interrupted
from nasrun.commands.job import Jobs, Outcome, go_on
from nasrun.config import OnError
from nasrun.errors import RunError, UsageError
from nasrun.hydra_errors import sentence
from nasrun.hydra_flags import in_quotes
from nasrun.runs import RUN_FILE, RunFolder
from nasrun.sweeps import Job, Sweep

NUMBERED = "${hydra.job.num}"  # hydra.sweep.subdir, unless the user changed it


LAUNCHERS = ("basic", "joblib")


class Sweeper(Plugin):
    """See the module's docstring. Hydra finds it by `hydra_plugins/nasrun.py`.

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
        if chosen not in LAUNCHERS:
            raise UsageError(
                f"hydra/launcher={chosen} is not possible: leave it out to run the jobs one after "
                "the other, or type hydra/launcher=joblib to run several at once; "
                "hydra/sweeper=basic takes any launcher, but nasrun resume does not know it"
            )
        self._at_once = chosen != "basic"
        if self._at_once and config.sweep.on_error == OnError.stop:
            raise UsageError(
                f"sweep.on_error=stop is not possible with hydra/launcher={chosen}, which starts "
                "jobs before others have ended: leave one of them out"
            )
        self._context = hydra_context
        self._composer = Composer(hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(cast(ConfigLoader, self._composer), hydra_context.callbacks),
            task_function=task_function,
            config=config,
        )
        self._master = config
        self._jobs = task_function

    def sweep(self, arguments: list[str]) -> Any:
        home = Path(os.path.normpath(str(self._master.hydra.sweep.dir)))
        with read_write(self._master.hydra.overrides):
            # the folder of the sweep is that of all its jobs, whatever it was composed of
            self._master.hydra.overrides.hydra.append(f"hydra.sweep.dir={in_quotes(str(home))}")
        sweep = self._jobs.resumed or self._new(home, arguments)
        with RunFolder(home) as folder, terminated_as_interrupted():
            if self._jobs.resumed is None:
                sweep.write(folder)
                folder.write_text("multirun.yaml", OmegaConf.to_yaml(self._master))
            self._jobs.sweep = sweep
            self._work(sweep.jobs)

    def _new(self, home: Path, arguments: Sequence[str]) -> Sweep:
        """The sweep that the command line and `hydra.sweeper.params` stand for, checked."""
        # Hydra executes the modules of its plug-ins again when it looks for them, so not above
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        parser = OverridesParser.create(config_loader=self._context.config_loader)
        words = [*(f"{key}={values}" for key, values in self._params.items()), *arguments]
        (combinations,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
        if not combinations:
            raise UsageError("the sweep has no jobs: one of its ranges is empty")
        self._composer.check(self._master, combinations)
        jobs = [
            Job(number, Path(os.path.normpath(home / self._subdir(number, one))), one)
            for number, one in enumerate(combinations)
        ]
        about = self._jobs
        sweep = Sweep(home, about.kind, about.command, about.arguments, jobs)
        sweep.require_folders()
        return sweep

    def _subdir(self, number: int, overrides: Sequence[str]) -> str:
        """The job's folder inside the sweep; where it says more than the number, the job has to be
        composed to know it."""
        raw = OmegaConf.to_container(self._master.hydra.sweep, resolve=False)
        assert isinstance(raw, dict)
        if raw["subdir"] == NUMBERED:
            return str(number)
        config = self._composer.load_sweep_config(self._master, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)  # what ${hydra:...} refers to
        subdir = str(config.hydra.sweep.subdir)
        HydraConfig.instance().set_config(self._master)
        return subdir

    def _work(self, jobs: Sequence[Job]) -> None:
        waiting = [job for job in jobs if job.record().get("status") != "done"]
        if len(waiting) < len(jobs):
            ui.say(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs are done already")
        if self._at_once:
            begun = [job for job in waiting if "signature" in job.record()]
            self._run_at_once([job for job in waiting if job not in begun])
            waiting = begun
        for job in waiting:
            failed = self._run(job).error is not None
            if failed and self._master.sweep.on_error == OnError.stop:
                ui.complain("sweep.on_error=stop: the jobs that are left are not run")
                return

    def _run_at_once(self, jobs: Sequence[Job]) -> None:
        """Jobs that were not begun, in worker processes with a fair share of the cores each. What
        became of them is read from their folders."""
        share_cores(int(self._master.hydra.launcher.n_jobs))
        for job in jobs:
            (job.folder / RUN_FILE).unlink(missing_ok=True)
        # A launcher numbers the jobs of one call in a row.
        for _, row in itertools.groupby(enumerate(jobs), lambda pair: pair[1].number - pair[0]):
            together = [job for _, job in row]
            overrides = [list(job.overrides) for job in together]
            first = together[0].number
            try:
                returns = self._launcher.launch(overrides, initial_job_idx=first)
            except Exception as error:
                self._after_a_crash(together, error)
                continue
            for job, returned in zip(together, returns, strict=True):
                self._jobs.outcomes.append(self._outcome(job, returned))

    def _after_a_crash(self, jobs: Sequence[Job], error: Exception) -> None:
        """A process was killed (by the system, for want of memory?), and the others with it. What
        they had begun is for `nasrun resume`; what they had not gets new processes."""
        rest = [job for job in jobs if not job.record()]
        hopeless = len(rest) == len(jobs)
        ui.complain(f"a worker process has died: {type(error).__name__}")
        for job in jobs if hopeless else [job for job in jobs if job not in rest]:
            outcome = Outcome(job.number, job.folder, job.overrides, job.result())
            if job.record().get("status") != "done":
                outcome.error = RunError("its process was killed, or another one beside it")
                self._jobs.give_up(outcome, outcome.error)
            self._jobs.outcomes.append(outcome)
        if rest and not hopeless:
            self._run_at_once(rest)

    def _outcome(self, job: Job, returned: JobReturn) -> Outcome:
        """Of a job that ran in another process."""
        outcome = Outcome(job.number, job.folder, job.overrides)
        record = job.record()
        if returned.status == JobStatus.FAILED and record.get("status") != "failed":
            outcome.error = returned._return_value
            self._jobs.give_up(outcome, outcome.error)
        elif record.get("status") == "done":
            outcome.result = job.result()
        else:
            kind = UsageError if record.get("users_mistake") is True else RunError
            outcome.error = kind(str(record.get("error", "it did not finish")))
        return outcome

    def _run(self, job: Job) -> Outcome:
        """Go on with a job that was begun; run one that was not, or failed before it began."""
        outcome = Outcome(job.number, job.folder, job.overrides)
        try:
            if "signature" in job.record():
                ui.say(f"job {job.number} goes on: {' '.join(job.overrides)}")
                outcome.result = go_on(job.folder, self._jobs.prepare)
            else:
                (job.folder / RUN_FILE).unlink(missing_ok=True)
                self._launcher.launch([list(job.overrides)], initial_job_idx=job.number)
                return self._jobs.outcomes[-1]
        except Exception as error:
            told = sentence(error, [self._jobs.kind, *job.overrides])
            outcome.error = error if told is None else UsageError(told)
            self._jobs.give_up(outcome, outcome.error)
        self._jobs.outcomes.append(outcome)
        return outcome


def share_cores(num_workers: int) -> None:
    """Threads for the processes that are started from now on; a number that the user has set in
    OMP_NUM_THREADS stays. -1 is a worker for each core."""
    num_cores = len(os.sched_getaffinity(0))
    workers = num_cores if num_workers < 1 else num_workers
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores // workers)))

"""Check Hydra's launchers, share the machine among their jobs, and stop what they have started.

A launcher of Hydra starts jobs and waits for them. It has no word for stopping them, and where one
has died it does not wait for the others; so what it starts is noted here.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from nasrun.config.hydra_errors import EXTRAS, not_installed
from nasrun.errors import UsageError
from nasrun.launch import slurm
from nasrun.launch.composing import Composer
from nasrun.launch.job import Jobs
from nasrun.launch.placement import OneProcessEach
from nasrun.launch.shares import at_once, num_cores, share_cores, visible_gpus
from nasrun.runs.sweep import Job
from nasrun.terminal import console

SLOTS = ".slots"  # in the folder of a sweep, while it runs
PATIENCE_S = 15.0  # for jobs of SLURM that were told to stop


def require_usable(launcher: str, config: DictConfig) -> None:
    """Raise a `UsageError` for a launcher that is not known, installed or possible here."""
    if launcher != "basic" and launcher not in EXTRAS:
        raise UsageError(
            f"hydra/launcher={launcher} is not possible: leave it out to run the jobs one after "
            f"the other, or type one of {', '.join(f'hydra/launcher={name}' for name in EXTRAS)}; "
            "hydra/sweeper=basic takes any launcher, but nasrun resume does not know it"
        )
    if config.hydra.launcher._target_ not in Plugins.instance().class_name_to_class:
        raise UsageError(not_installed(launcher))
    if launcher == "submitit_slurm" and shutil.which("srun") is None:
        raise UsageError(
            "hydra/launcher=submitit_slurm needs a machine of a SLURM cluster, which has srun: "
            "hydra/launcher=submitit_local does the same with processes of this machine"
        )


class Engine:
    """A launcher, and what it has started.

    Args:
        home: the folder of the sweep.
        num_jobs: how many there are to be run.
    """

    def __init__(
        self,
        context: HydraContext,
        composer: Composer,
        config: DictConfig,
        jobs: Jobs,
        home: Path,
        num_jobs: int,
    ) -> None:
        self._name = config.hydra.runtime.choices["hydra/launcher"]
        self._started: list[Any] = []
        self._jobs: Sequence[Job] = ()
        self._home = home
        self._watcher = slurm.Watcher(home) if self._name == "submitit_slurm" else None
        self._earlier: list[str] = []  # jobs of SLURM that an earlier launcher has left behind
        task: TaskFunction = jobs
        if self._name == "joblib":
            task = _share_this_machine(config, jobs, home, num_jobs)
        elif self._name == "submitit_local":
            share_cores(num_jobs)
        elif self._name == "ray" and config.hydra.launcher.ray.init.address is not None:
            with _changing(config):  # what the cluster has is not ours to say
                for key in ("num_cpus", "num_gpus", "object_store_memory"):
                    config.hydra.launcher.ray.init[key] = None
        if self._name.startswith("submitit") and jobs.resumed is not None:
            # submitit unpickles the answers of jobs: no stranger shall know where it looks for them
            with _changing(config):
                config.hydra.launcher.submitit_folder = f"{home}/.submitit-{token_hex(8)}/%j"
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(cast(ConfigLoader, composer), context.callbacks),
            task_function=task,
            config=config,
        )

    def launch(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        """Run the jobs, and return when all have ended, however they did.

        It raises what the launcher raises: one of them has died.
        """
        overrides = [list(job.overrides) for job in jobs]
        self._started.clear()
        self._jobs = jobs
        with self._noted():
            try:
                numbers = Numbers([job.number for job in jobs])
                return self._launcher.launch(overrides, initial_job_idx=numbers)
            except Exception:
                self._wait()
                raise

    @property
    def has_submitted(self) -> bool:
        """Return whether jobs are known to have left this process; joblib's are not noted."""
        return bool(self._started) or self._name == "joblib"

    def await_earlier(self) -> None:
        """Wait for jobs of the sweep that go on in SLURM although their launcher has ended.

        They hold their folders. Those that only wait are taken out of the queue, to be submitted
        anew with what was typed now.
        """
        if self._watcher is None or not (left := slurm.left_behind(self._home)):
            return
        self._earlier = [*left]
        waiting = [job_id for job_id, state in left.items() if state.state == "PENDING"]
        if waiting:
            slurm.cancel_waiting(waiting)
        if len(waiting) < len(left):
            console.say(
                f"{len(left) - len(waiting)} jobs of this sweep are still running in SLURM; the "
                "others are submitted when they have ended"
            )
        while slurm.left_behind(self._home):
            time.sleep(slurm.LEAST_SECONDS)

    def why_they_wait(self) -> str:
        """Return why jobs are not running yet, in the words of a cluster that says so."""
        return "" if self._watcher is None else self._watcher.why_they_wait()

    def fate(self, job: Job) -> str | None:
        """Say how SLURM has ended a job, if it says so."""
        if self._watcher is None:
            return None
        for own, submitted in zip(self._jobs, self._started, strict=False):
            state = self._watcher.states.get(submitted.job_id)
            if own.number == job.number and state is not None and not state.is_live:
                words = slurm.last_words(submitted.paths.stderr)
                return f"SLURM says {state}{f': {words}' if words else ''}"
        return None

    def stop(self) -> None:
        """End what is running and what is still in a queue; joblib has done so already."""
        if self._watcher is not None:
            slurm.stop([*self._earlier, *(job.job_id for job in self._started)], PATIENCE_S)
        elif self._name.startswith("submitit"):
            for job in self._started:
                job.cancel(check=False)
        elif self._name == "ray":
            import ray

            for task in self._started:
                ray.cancel(task, force=True)
            ray.shutdown()

    def _wait(self) -> None:
        if self._name.startswith("submitit"):
            for job in self._started:
                job.wait()
        elif self._name == "ray" and self._started:
            import ray

            ray.wait(self._started, num_returns=len(self._started))

    @contextmanager
    def _noted(self) -> Iterator[None]:
        if self._name.startswith("submitit"):
            from submitit import AutoExecutor

            local = self._name == "submitit_local"
            with self._watching(), _heard(AutoExecutor, "map_array", self._submitted, hushed=local):
                yield
        elif self._name == "ray":
            from hydra_plugins.hydra_ray_launcher import _core

            with _heard(_core, "launch_job_on_ray", self._started.append):
                yield
        else:
            yield

    def _submitted(self, started: Sequence[Any]) -> None:
        self._started.extend(started)
        if self._watcher is not None:
            pairs = zip(self._jobs, started, strict=True)
            self._watcher.follow({job.job_id: own.number for own, job in pairs})

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Within the context, let submitit ask our watcher in the place of its own."""
        if self._watcher is None:
            yield
            return
        import submitit

        asking: Any = submitit.SlurmJob
        original, asking.watcher = asking.watcher, self._watcher
        try:
            yield
        finally:
            asking.watcher = original


class Numbers(int):
    """The number of the first job, and behind it those of all others.

    A launcher numbers its jobs in a row, by adding their positions to the first number; those of a
    sweep that is gone on with have gaps, so here the sum looks the number up.
    """

    _numbers: Sequence[int]

    def __new__(cls, numbers: Sequence[int]) -> Numbers:
        new = super().__new__(cls, numbers[0])
        new._numbers = numbers
        return new

    def __add__(self, position: int) -> int:
        return self._numbers[position]


@contextmanager
def _heard(
    owner: Any, name: str, note: Callable[[Any], None], *, hushed: bool = False
) -> Iterator[None]:
    """Within the context, call `note` with what a function returns and its caller keeps to itself.

    The processes that a `hushed` one starts do not show their tracebacks.
    """
    original = getattr(owner, name)

    def call(*arguments: Any, **keywords: Any) -> Any:
        with _no_errors_shown() if hushed else nullcontext():
            returned = original(*arguments, **keywords)
        note(returned)
        return returned

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _no_errors_shown() -> Iterator[None]:
    """Hide the standard error of processes that start within the context.

    submitit starts some to watch over a job, and Ctrl-C reaches them, too.
    """
    shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
        os.close(nowhere)


@contextmanager
def _changing(config: DictConfig) -> Iterator[None]:
    with read_write(config.hydra), open_dict(config.hydra):
        yield


# ---------------------------------------------------------------------------- this machine


def _share_this_machine(config: DictConfig, jobs: Jobs, home: Path, num_jobs: int) -> TaskFunction:
    """Decide how many jobs run at once, and what each of them gets."""
    gpus = () if config.device == "cpu" else visible_gpus()
    most = at_once(config.hydra.launcher.n_jobs, len(gpus) or num_cores())
    at_a_time = max(1, min(most, num_jobs))
    with _changing(config):
        config.hydra.launcher.n_jobs = at_a_time
    share_cores(at_a_time)
    if at_a_time == 1:  # joblib stays in this process
        return jobs
    return OneProcessEach(jobs, home / SLOTS, at_a_time, gpus)

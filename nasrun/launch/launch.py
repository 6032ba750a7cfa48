"""Run a command's job, or its sweep, under Hydra, and end with one message or one table."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

import hydra

from nasrun.compute import cancellation, torchrun
from nasrun.config import compose, outside
from nasrun.config.catalogue import conf_dir
from nasrun.config.flags import flags_first, in_quotes
from nasrun.errors import UsageError, brief
from nasrun.launch import hydra_guard
from nasrun.launch.commented import comments
from nasrun.launch.interruption import terminated_as_interrupted
from nasrun.launch.job import Jobs, Outcome
from nasrun.launch.master import lenient_master
from nasrun.launch.replay import asks_a_resolver, is_setting, replayed
from nasrun.launch.resuming import tell_of_plugins
from nasrun.launch.supervision import Prepare, short
from nasrun.runs import sweep as sweeps
from nasrun.runs.sweep import SWEEP_FILE, Sweep
from nasrun.terminal import console

NO_SWEEP = (
    "torchrun shares one run out over its processes, and this is a sweep: leave torchrun out and "
    "choose a hydra/launcher, or start the runs one by one"
)
LAUNCHER = ("hydra/launcher=", "hydra.launcher.")  # words that may be typed to resume a sweep


def launch(command: str, prepare: Prepare, arguments: Sequence[str]) -> Sequence[Outcome]:
    """Run a command: one job, or a sweep; return how each job ended.

    A single job raises what it raises. A sweep prints its table and exits with 1 when a job failed,
    and with 2 when all failures are the user's mistakes.
    """
    sweeps_over = any(word in ("-m", "--multirun") or "hydra.mode=" in word for word in arguments)
    if torchrun.num_processes() > 1 and sweeps_over:
        raise UsageError(NO_SWEEP)
    words, source = replayed(command, without_chdir(arguments))
    typed = [f"{outside.FLAG}={name}" for name in outside.typed()]
    line = shlex.join(["nasrun", command, *typed, *arguments])
    jobs = Jobs(command, prepare, line, words, source, None)
    _run(jobs)
    return jobs.outcomes


def without_chdir(arguments: Sequence[str]) -> list[str]:
    """Leave out `hydra.job.chdir`, with which relative paths would name other files."""
    found = [word for word in arguments if word.lstrip("+").startswith("hydra.job.chdir=")]
    if any(word.lower().endswith(("=true", "=1", "=yes", "=on")) for word in found):
        console.complain(
            f"{found[-1]} has no effect: whatever a run writes goes into its folder, and relative "
            "paths refer to the folder that it was started in"
        )
    return [word for word in arguments if word not in found]


def go_on_with_sweep(
    sweep: Sweep,
    prepare: Prepare,
    launcher: Sequence[str] = (),
    moved: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run the jobs of a recorded sweep that are not done, and end as `launch` does.

    `launcher` are the words that choose one; `moved` is key -> where a file is that has moved.
    """
    if not all(is_setting(override) for job in sweep.jobs for override in job.overrides):
        raise UsageError(f"{sweep.home / SWEEP_FILE} is not the record of a sweep")
    if torchrun.num_processes() > 1:
        raise UsageError(NO_SWEEP)
    tell_of_plugins(sweep.plugins, sweep.home)
    words = [word for word in flags_first(sweep.arguments) if _is_replayed(word)]
    configs = [word for word in words if word.startswith("--config-")]
    if configs:  # a folder of theirs could name anything as a callback of Hydra, which would run it
        raise UsageError(
            f"the sweep {sweep.home} was started with {configs[0]}, which its record alone cannot "
            f"vouch for: go on with its jobs one by one, nasrun resume {sweep.home}/<job>"
        )
    asking = [
        one
        for one in (*words, *(o for job in sweep.jobs for o in job.overrides))
        if asks_a_resolver(one)
    ]
    if asking:  # it would be computed from this machine, and recorded
        raise UsageError(
            f"the record of the sweep {sweep.home} has {asking[0]!r}, which would be computed anew "
            f"from this machine: go on with its jobs one by one, nasrun resume {sweep.home}/<job>"
        )
    words += [f"hydra.sweep.dir={in_quotes(str(sweep.home))}", *launcher]
    _run(Jobs(sweep.kind, prepare, sweep.command, words, None, sweep, moved))


def _is_replayed(word: str) -> bool:
    """Return whether a word of a sweep's record counts when the sweep is resumed.

    A record may come from a stranger: of Hydra's own settings only those of folders count, and what
    `--from` stands for is recorded itself.
    """
    if word.startswith("-"):
        return not word.startswith("--from=")
    return is_setting(word) or word.startswith("hydra.sweep.")


def run_under_hydra(jobs: Jobs) -> None:
    """Compose the job, or those of a sweep, and call `jobs` for each."""
    with ExitStack() as stack:
        words = stack.enter_context(comments(jobs.kind, jobs.arguments))
        if torchrun.rank() > 0:
            place = stack.enter_context(torchrun.place_of_follower())
            words.append(f"hydra.run.dir={in_quotes(str(place))}")
        _run_under_hydra(jobs, words)


def _run_under_hydra(jobs: Jobs, words: Sequence[str]) -> None:
    compose.register()
    logging.getLogger("hydra").setLevel(logging.WARNING)
    main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=jobs.kind)
    sys.argv = [sys.argv[0], *words]
    hydra_guard.require_bounded(words)
    try:
        with hydra_guard.guarded(), lenient_master(), _full_errors():
            main(jobs)()
    except OSError as error:  # of Hydra, which makes the folder of a run and looks for options
        if error.errno is None:
            raise  # a mistake in the configuration, which Hydra makes an OSError too
        name = brief(str(error.filename))
        advice = "; choose another hydra.run.dir or hydra.sweep.dir, or another word"
        raise UsageError(f"{name} cannot be used: {error.strerror}{advice}") from None


@contextmanager
def _full_errors() -> Iterator[None]:
    """Have Hydra raise its exceptions; without this variable it prints them and exits by itself."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _run(jobs: Jobs) -> None:
    try:
        # Hydra makes the folder of a run before it calls us, who would remove it again
        with terminated_as_interrupted(at_once=False):
            run_under_hydra(jobs)
            cancellation.look()
    except KeyboardInterrupt:
        if jobs.sweep is None:
            raise
        command = shlex.join(["nasrun", "resume", str(short(jobs.sweep.home)), *_launcher(jobs)])
        message = f"interrupted; `{command}` goes on"
        raise KeyboardInterrupt(message) from None
    finally:
        _show_sweep(jobs)
    if jobs.sweep is None and len(jobs.outcomes) == 1 and jobs.outcomes[0].error is not None:
        raise jobs.outcomes[0].error
    _exit_for(jobs.outcomes)


def _launcher(jobs: Jobs) -> list[str]:
    return [word for word in jobs.arguments if word.startswith(LAUNCHER)]


def _show_sweep(jobs: Jobs) -> None:
    if jobs.sweep is not None:
        sweeps.show(short(jobs.sweep.home), jobs.sweep.jobs, _launcher(jobs))
    elif len(jobs.outcomes) > 1:  # of a sweeper that is not ours
        home = jobs.outcomes[0].folder.parent
        done = [sweeps.Job(one.number, one.folder, one.overrides) for one in jobs.outcomes]
        sweeps.show(home, done)


def _exit_for(outcomes: Sequence[Outcome]) -> None:
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors:
        raise SystemExit(2 if all(isinstance(error, UsageError) for error in errors) else 1)

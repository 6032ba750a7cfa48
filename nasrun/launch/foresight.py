"""Find the mistakes of a sweep's jobs before any of them runs, so that each is told once.

Values are looked at in every job, without torch. Where jobs run in this process, one job of each
kind is built as well: jobs that differ in numbers alone rarely differ in whether they can be built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, open_dict

from nasrun.config import checks, compose, schema
from nasrun.errors import RunError, UsageError, raise_together
from nasrun.launch import places as located
from nasrun.launch import tracker
from nasrun.launch.composing import Composer, kind
from nasrun.launch.job import Jobs
from nasrun.launch.prepare_retrain import resolved
from nasrun.runs.sweep import Job
from nasrun.terminal.progress import Display

HERE = ("basic", "joblib", "submitit_local")  # launchers whose jobs see the files of this machine
NO_MISTAKE = "seed="  # whatever the seed, a job works or fails alike


def mistakes(
    jobs: Jobs, composer: Composer, master: DictConfig, planned: Sequence[Job]
) -> dict[int, UsageError]:
    """Return what is wrong: the number of a job -> its mistakes in one message."""
    found: dict[int, UsageError] = {}
    known: dict[tuple[str, ...], UsageError | None] = {}  # by what matters of the overrides
    built: dict[tuple[str, ...], bool] = {}  # by kind: whether one of it has no mistake
    for job in planned:
        what = tuple(word for word in job.overrides if not word.startswith(NO_MISTAKE))
        if what not in known:
            config = composer.load_sweep_config(master, list(job.overrides))
            alike = tuple(map(kind, what))
            first = not built.get(alike, False)
            known[what] = _mistake(jobs, config, job, first=first)
            if first:
                built[alike] = known[what] is None
        error = known[what]
        if error is not None:
            found[job.number] = error
    return found


def told(found: Mapping[int, UsageError]) -> dict[str, list[int]]:
    """Group what is wrong: each message, and the numbers of the jobs that have it."""
    groups: dict[str, list[int]] = {}
    for number, error in found.items():
        groups.setdefault(str(error), []).append(number)
    return groups


def _mistake(jobs: Jobs, config: DictConfig, job: Job, *, first: bool) -> UsageError | None:
    """Return what is wrong with a job; of the first of its kind all is looked at."""
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    try:
        raise_together(jobs.unread(config, job.overrides))
        places = jobs.places(config)
        if first and not jobs.at_once:
            quiet = Display(quiet=True)
            prepared = jobs.prepare(config, job.overrides, choices, display=quiet, places=places)
            if prepared.tracker is not None:
                prepared.tracker.require()
            return None
        here = launcher in HERE
        node = _look_at_values(jobs.kind, config, choices, places, with_files=here)
        if first and here:
            raise_together(tracker.problems(node))
    except UsageError as error:
        return error
    except (RunError, OSError):
        pass  # the job itself will say it, if it still holds then
    return None


def _look_at_values(
    command: str,
    config: DictConfig,
    choices: Mapping[str, str],
    places: Mapping[str, str],
    *,
    with_files: bool,
) -> object:
    """Raise a `UsageError` for values that no run can have; torch is not imported for it.

    Returns the node of its tracker.
    """
    settings: schema.SearchConfig | schema.RetrainCommandConfig
    if command == "retrain":
        if not with_files:
            return None  # the genotype may be a file that only the jobs see
        _, config = resolved(config, choices, places.get(located.GENOTYPE))
        settings = compose.to_typed(config, schema.RetrainCommandConfig, choices, places)
    else:
        settings = compose.to_typed(config, schema.SearchConfig, choices, places)
    files = checks.missing_places(settings) if with_files else ()
    raise_together([*checks.all_faults(settings), *files])
    return settings.tracker

"""What the Hydra commands share: compose, check, make the run folder, run, mark the outcome.

A job that fails marks its own folder; in a sweep the others go on, and one table ends it.
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nasrun import config as configuration
from nasrun import ui
from nasrun.conf_files import conf_dir
from nasrun.errors import RunError, UsageError, raise_together
from nasrun.runs import RUN_FILE, RunFolder, now
from nasrun.summary import summary


@dataclass
class Prepared:
    """A checked run that has not written anything yet.

    `record` goes into `run.json`; `run` does the work in the folder and returns the result.
    """

    record: Mapping[str, Any]
    run: Callable[[RunFolder], Mapping[str, Any]]


@dataclass
class Outcome:
    """How one job of a command ended."""

    folder: Path
    overrides: Sequence[str]
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None


Prepare = Callable[[DictConfig, Sequence[str]], Prepared]


def launch(command: str, prepare: Prepare, arguments: Sequence[str]) -> None:
    """Run a command's jobs under Hydra. Raises what a single job raised; a sweep prints its table
    and exits with 1 when a job failed, 2 when all failures are the user's mistakes."""
    configuration.register()
    outcomes: list[Outcome] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
    def job(config: DictConfig) -> float:
        outcome = run_job(config, prepare, command_line)
        outcomes.append(outcome)
        return _objective(outcome.result)

    command_line = shlex.join(["nasrun", command, *arguments])
    sys.argv = [sys.argv[0], *arguments]
    logging.getLogger("hydra").setLevel(logging.WARNING)
    interrupted = True
    try:
        job()
        interrupted = False
    finally:
        if len(outcomes) > 1 or (outcomes and interrupted):
            show_sweep(outcomes)
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    exit_for([outcome.error for outcome in outcomes if outcome.error is not None])


def exit_for(errors: Sequence[Exception]) -> None:
    if errors:
        raise SystemExit(2 if all(isinstance(error, UsageError) for error in errors) else 1)


def run_job(config: DictConfig, prepare: Prepare, command_line: str) -> Outcome:
    """One job; every exception but an interruption becomes part of the outcome."""
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    sweep = settings.mode == RunMode.MULTIRUN
    outcome = Outcome(folder, overrides)
    try:
        raise_together(
            configuration.unread_overrides(config, overrides) if "strategy" in config else ()
        )
        prepared = prepare(config, overrides)
        if sweep:
            ui.say(f"job {settings.job.num}: {' '.join(overrides)}")
        with RunFolder(folder) as run:
            run.start({"command": command_line, "overrides": overrides, **prepared.record})
            _write_hydra_folder(folder, config, settings, overrides)
            outcome.result = supervise(run, prepared.run)
        if not sweep:
            ui.say(summary(_short(folder), outcome.result))
    except Exception as error:
        outcome.error = error
        if sweep:
            ui.complain(f"job {settings.job.num} failed: {error}")
            if not isinstance(error, UsageError | RunError):
                traceback.print_exception(error)
    finally:
        _remove_empty(folder)
    return outcome


def supervise(
    folder: RunFolder, work: Callable[[RunFolder], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Do the work and mark the folder done, failed or interrupted."""
    with _terminated_as_interrupted():
        try:
            result = work(folder)
        except KeyboardInterrupt:
            folder.update(status="interrupted", finished=now())
            message = f"interrupted; `nasrun resume {_short(folder.path)}` goes on"
            raise KeyboardInterrupt(message) from None
        except BaseException as error:
            folder.update(status="failed", finished=now(), error=str(error) or repr(error))
            with (folder.path / "error.log").open("a", encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
            raise
        folder.update(status="done", finished=now())
        return result


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, with which a scheduler ends a job, is handled like Ctrl-C."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _write_hydra_folder(
    folder: Path, config: DictConfig, settings: Any, overrides: Sequence[str]
) -> None:
    """`.hydra/` as Hydra writes it, with all interpolations resolved. Hydra itself would write it
    before anything was checked, over the record of an earlier run in the same folder."""
    target = folder / ".hydra"
    target.mkdir(exist_ok=True)
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    OmegaConf.save(resolved, target / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": settings}), target / "hydra.yaml")
    OmegaConf.save(OmegaConf.create(list(overrides)), target / "overrides.yaml")


def _remove_empty(folder: Path) -> None:
    """Hydra makes the folder before the job is checked; a refused job leaves nothing behind."""
    if (folder / RUN_FILE).exists():
        return
    if {path.name for path in folder.glob("*")} <= {".lock"}:
        with suppress(OSError):
            (folder / ".lock").unlink(missing_ok=True)
            for path in (folder, folder.parent, folder.parent.parent):
                path.rmdir()


def _short(folder: Path) -> Path:
    """The folder as a person would type it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _objective(result: Mapping[str, Any]) -> float:
    """What a sweeper minimises: the validation error where there is one."""
    accuracy = result.get("search_val_accuracy")
    return float("nan") if accuracy is None else 1.0 - float(accuracy)


def show_sweep(outcomes: Sequence[Outcome]) -> None:
    """The table at the end of a sweep: a row per job, with the settings in which they differ."""
    settings = [
        dict(override.lstrip("+").partition("=")[::2] for override in outcome.overrides)
        for outcome in outcomes
    ]
    keys = [key for key in settings[0] if len({item.get(key) for item in settings}) > 1]
    columns = ["job", *keys, "val acc %", "test acc %", "params", "search s", "status"]
    rows = []
    for number, (outcome, item) in enumerate(zip(outcomes, settings, strict=True)):
        retrain, table = (outcome.result.get(part) or {} for part in ("retrain", "table"))
        rows.append(
            [
                str(number),
                *(item.get(key, "") for key in keys),
                _percent(outcome.result.get("search_val_accuracy")),
                _percent((retrain or table).get("test_accuracy")),
                f"{retrain['params']:,}" if retrain else "-",
                f"{outcome.result.get('search_seconds', 0):.1f}",
                "done" if outcome.error is None else f"failed: {str(outcome.error)[:60]}",
            ]
        )
    ui.table(f"{len(outcomes)} jobs in {outcomes[0].folder.parent}", columns, rows)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"

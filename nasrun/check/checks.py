"""Check the jobs that a command would start: each phase once, all mistakes in one message."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from nasrun.check.forecast import Forecast, disk_faults, duration
from nasrun.config import catalogue, compose
from nasrun.config.flags import in_quotes
from nasrun.config.hydra_errors import sentence
from nasrun.config.schema import RetrainCommandConfig, SearchConfig
from nasrun.errors import UsageError
from nasrun.launch import hparams, prepare_retrain, prepare_search, tracker
from nasrun.launch.job import Jobs, Outcome, is_default
from nasrun.launch.replay import Source
from nasrun.protocols.result import Result
from nasrun.runs.folder import RunFolder, Taken
from nasrun.runs.sweep import named
from nasrun.storage.folder_lock import InUse
from nasrun.terminal import console

SHORT_EPOCHS = 3  # as budget=smoke has, so that each phase of a search has its share
NO_MATTER = (
    "seed=",
    "fitness.zeta=",
    "fitness.eta=",
)  # keys that do not change how long a job takes
PREPARE = {"search": prepare_search.prepare, "retrain": prepare_retrain.prepare}
HOW = (
    "How: every phase was run at its real size, and its result reached again from its checkpoint. "
    "Of a pass over the data the first two batches and the last were used; candidates were scored "
    "and labelled until enough was known; their times are multiplied by the counts of the run."
)


def uncomposable(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find what is wrong with each word that the others compose without.

    Returns these faults, and the other words. Nothing is found in a sweep, or where the
    configuration is another one than the built-in.
    """
    if any(word.startswith("-") for word in words):
        return [], list(words)
    groups = catalogue.groups(catalogue.conf_dir())
    faults, composable = list[str](), list[str]()
    for word in sorted(words, key=lambda word: word.partition("=")[0] not in groups):
        try:
            compose.compose(command, [*composable, word])
            composable.append(word)
        except Exception as error:
            told = sentence(error, [command, word])
            if told is None:
                raise
            faults.append(told)
    return faults, composable


@dataclass
class Checked:
    """Jobs of one shape, of which the first was rehearsed; no forecast where not all is well."""

    first: Outcome
    forecast: Forecast | None
    num_jobs: int = 1


class Checks(Jobs):
    """The jobs that are checked: Hydra calls it for each of them.

    Args:
        home: a folder for a sweep, that is removed later.
    """

    def __init__(self, kind: str, words: Sequence[str], source: Source | None, home: Path) -> None:
        own = ["hydra/launcher=basic", f"hydra.sweep.dir={in_quotes(f'{home}/sweep')}"]
        super().__init__(kind, PREPARE[kind], "", [*words, *own], source, None)
        self._home = home
        self._swept = False
        self._said: dict[str, None] = {}  # notes, each once
        self._checked: dict[tuple[str, ...], Checked] = {}
        self._problems: dict[str, dict[int, None]] = {}  # problem -> numbers of the jobs, each once

    def _run(self, config: DictConfig, settings: Any, outcome: Outcome, swept: bool) -> None:
        self._swept = swept
        self._note(outcome, self.unread(config, outcome.overrides))
        alike = shape(outcome.overrides)
        first = self._checked.get(alike)
        if swept and first is None:
            console.say(f"job {outcome.number}: {' '.join(outcome.overrides)}")
        forecast = self._check(
            config, settings.runtime.choices, outcome, only_build=first is not None
        )
        if first is not None:
            first.num_jobs += 1
        else:
            self._checked[alike] = Checked(outcome, forecast)

    def _check(
        self,
        config: DictConfig,
        choices: Mapping[str, str],
        outcome: Outcome,
        *,
        only_build: bool,
    ) -> Forecast | None:
        genotype = None
        schema: Any = SearchConfig
        if self.kind == "retrain":
            genotype, config = prepare_retrain.resolved(config, choices)
            schema = RetrainCommandConfig
        typed = compose.to_typed(config, schema, choices)
        self._note(outcome, tracker.problems(typed.tracker))
        short = compose.to_typed(shortened(config), schema, choices)

        def record(session: Any, result: Result) -> None:
            hparams.record(session.recorder, config, outcome.overrides, result)

        from nasrun.check.run import Rehearsal  # with torch, which --cfg does without

        with self._scratch(outcome) as folder:
            rehearsal = Rehearsal(typed, short, genotype, folder, record)
            forecast = None
            if only_build:
                rehearsal.prepare()
            else:
                forecast = rehearsal.run()
        self._note(outcome, rehearsal.problems)
        self._said |= dict.fromkeys(rehearsal.notes)
        return forecast

    @contextmanager
    def _scratch(self, outcome: Outcome) -> Iterator[Path]:
        """Make a folder on the disk of the run, in its own folder where that can be."""
        place, before = outcome.folder, {*outcome.folder.iterdir()}
        try:
            with RunFolder(place) as run:
                run.require_new()
        except UsageError as error:
            default = is_default("hydra.run.dir", HydraConfig.get())
            if not (default and isinstance(error, InUse | Taken)):  # the run would get another name
                self._note(outcome, [str(error)])
            place = self._home
        for path in {*outcome.folder.iterdir()} - before:
            path.unlink()
        with tempfile.TemporaryDirectory(dir=place, prefix="check-") as folder:
            yield Path(folder)

    def give_up(self, outcome: Outcome, error: Exception) -> None:
        """Do nothing yet: what is wrong with a job is told at the end."""

    def _note(self, outcome: Outcome, problems: Iterator[str] | Sequence[str]) -> None:
        for problem in problems:
            self._problems.setdefault(problem, {})[outcome.number] = None

    def told(self) -> list[str]:
        """List all that is wrong; in a sweep with the numbers of the jobs."""
        for outcome in self.outcomes:
            if isinstance(outcome.error, UsageError):
                self._note(outcome, outcome.error.problems)
            elif outcome.error is not None:
                raise outcome.error
        found = list(self._forecasts())
        num_bytes = sum(forecast.disk_bytes * number for _, forecast, number in found)
        for first, *_ in found[:1]:
            self._note(first, disk_faults(self._place(first), num_bytes))
        return [
            f"{problem} ({named([*numbers])})" if self._swept else problem
            for problem, numbers in self._problems.items()
        ]

    def show(self) -> None:
        """Show the forecasts; to be called where nothing is wrong."""
        if self._said:
            console.say("\n".join(self._said))
        num_jobs, seconds = 0, 0.0
        for first, forecast, number in self._forecasts():
            title = "\neverything works" + f": {' '.join(first.overrides)}" * bool(first.overrides)
            title += f" (and {number - 1} more like it)" * (number > 1)
            rows = list(forecast.rows(self._place(first)))
            console.table(title, ["", "forecast", ""], rows, text_columns=3)
            num_jobs, seconds = num_jobs + number, seconds + number * forecast.seconds
        if num_jobs > 1:
            console.say(f"\n{num_jobs} jobs, one after the other: {duration(seconds)}")
        if num_jobs > 0:
            console.say("\n" + "\n".join(textwrap.wrap(HOW, 100)))

    def _forecasts(self) -> Iterator[tuple[Outcome, Forecast, int]]:
        """Yield the first job of each shape, its forecast, and how many jobs have that shape."""
        for one in self._checked.values():
            if one.forecast is not None:
                yield one.first, one.forecast, one.num_jobs

    def _place(self, outcome: Outcome) -> Path:
        """Return where the run would write; the folder of a sweep is made by the sweep alone."""
        return Path.cwd() if self._swept else outcome.folder


def shortened(config: DictConfig) -> DictConfig:
    """Return the configuration with at most `SHORT_EPOCHS` epochs of a search."""
    if "budget" not in config:
        return config
    short = config.copy()
    epochs = config.budget.epochs
    OmegaConf.update(short, "budget.epochs", min(SHORT_EPOCHS, epochs))
    return short


def shape(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return what is equal for jobs that take the same time, and work or fail alike.

    >>> shape(["seed=3", "fitness.zeta=0.4", "population.size=8"])
    ('population.size=8',)
    """
    return tuple(override for override in overrides if not override.startswith(NO_MATTER))

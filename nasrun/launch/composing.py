"""Compose the configurations of a sweep's jobs: few of them with Hydra, the rest as changed copies.

Hydra takes a fifth of a second to compose a job, and does it twice for each. Most jobs of a sweep
differ from another one in numbers only, and their configurations too: a copy takes a hundredth.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nasrun.config.compose import register_resolvers
from nasrun.launch.hydra_guard import guarded

WHOLE = r"(0|[1-9]\d*)"  # to Hydra's grammar, 007 is a text
KINDS = (
    ("integer", re.compile(rf"[+-]?{WHOLE}"), int),
    ("number", re.compile(rf"(?i)[+-]?({WHOLE}\.\d*|\.\d+|{WHOLE}(?=e))(e[+-]?\d+)?"), float),
    ("truth", re.compile("(?i)true|false"), lambda text: text.lower() == "true"),
)


class Composer:
    """What a launcher uses of a `ConfigLoader`."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._composed: dict[tuple[str, ...], tuple[list[str], DictConfig]] = {}
        self.folders: dict[tuple[str, ...], str] = {}  # overrides of a job -> hydra.sweep.subdir

    def forget(self) -> None:
        """Compose all anew from now on, since the master configuration has changed."""
        self._composed.clear()

    def check(self, master_config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
        """Compose all jobs that can differ in whether they compose; raise what Hydra raises."""
        for job in jobs:
            self._like(master_config, job)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Return what Hydra's loader returns for the overrides of a job, and its folder's name."""
        config = self._load(master_config, sweep_overrides)
        folder = self.folders.get(tuple(sweep_overrides))
        if folder is not None:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.subdir = folder
        return config

    def _load(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        register_resolvers()  # a worker process knows none
        overrides, config = self._like(master_config, sweep_overrides)
        config = copy.deepcopy(config)
        changed = [
            pair for pair in zip(overrides, sweep_overrides, strict=True) if len({*pair}) > 1
        ]
        for old, new in changed:
            key, _, text = new.partition("=")
            if isinstance(OmegaConf.select(config, key), DictConfig):  # a group, and not a number
                return self._compose(master_config, sweep_overrides)
            OmegaConf.update(config, key, _value(text))
            _note(config, old, new)
        return config

    def _compose(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        with guarded():  # in a worker process nobody else does it
            return self._loader.load_sweep_config(master_config, sweep_overrides)

    def _like(
        self, master_config: DictConfig, overrides: Sequence[str]
    ) -> tuple[list[str], DictConfig]:
        """Return the composed job that differs in numbers and truth values at most."""
        kinds = tuple(map(kind, overrides))
        if kinds not in self._composed:
            config = self._compose(master_config, list(overrides))
            self._composed[kinds] = (list(overrides), config)
        return self._composed[kinds]


def kind(override: str) -> str:
    """Put the type of its value in the place of a number or a truth value of an override.

    >>> kind("seed=3"), kind("fitness.zeta=.5"), kind("budget=smoke"), kind("+x=3")
    ('seed=<integer>', 'fitness.zeta=<number>', 'budget=smoke', '+x=3')
    """
    key, _, text = override.partition("=")
    if re.fullmatch(r"[\w.]+", key):
        for name, pattern, _ in KINDS:
            if pattern.fullmatch(text):
                return f"{key}=<{name}>"
    return override


def _value(text: str) -> int | float:
    return next(convert(text) for _, pattern, convert in KINDS if pattern.fullmatch(text))


def _note(config: DictConfig, old: str, new: str) -> None:
    """Change an override where Hydra writes down what a job was composed of."""
    with read_write(config.hydra), open_dict(config.hydra):
        task = config.hydra.overrides.task
        task[task.index(old)] = new
        ignored = config.hydra.job.config.override_dirname
        names = [word for word in task if word.partition("=")[0] not in ignored.exclude_keys]
        joined = ignored.item_sep.join(sorted(names))
        config.hydra.job.override_dirname = joined.replace("=", ignored.kv_sep)

"""From a configuration to objects: what a run is made of, checked before anything is written.

`Wiring` is also the `SearchContext` that a strategy is given; its collaborators are built when
they are first touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from nasrun import build, config
from nasrun.device import Device
from nasrun.errors import UsageError, raise_together
from nasrun.protocols import Dataset, Evaluator, Scorer, Strategy
from nasrun.randomness import RandomStreams

PLUGINS = ("dataset", "space", "evaluator", "strategy")


class Wiring:
    """Builds dataset and space at once, so that a mistake in either is told before the run.

    Args:
        settings: a typed configuration.
        show_progress: told of work inside a step (done, total, figures).

    Raises:
        UsageError: everything that is wrong with the configuration, in one message.
    """

    def __init__(
        self, settings: config.RunConfig, show_progress: Callable[..., None] | None = None
    ) -> None:
        self.settings = settings
        self._show_progress = show_progress
        nodes = {name: getattr(settings, name) for name in PLUGINS if hasattr(settings, name)}
        problems = list(config.faults(settings))
        for name, node in nodes.items():
            # The settings of the supernet's training are the strategy's.
            problems += build.faults(node, name, partial=name == "evaluator")
        raise_together(problems)
        self.streams = RandomStreams(settings.seed)
        with _Collector() as collect:
            self._device: Any = collect(
                lambda: Device(settings.device, settings.precision, settings.compile)  # type: ignore[arg-type]
            )
            self.space: Any = collect(lambda: build.build(settings.space))
            self._dataset = collect(lambda: build.build(settings.dataset))

    @property
    def device(self) -> Device:
        return self._device

    @property
    def dataset(self) -> Dataset:
        return self._dataset

    def progress(self, done: int, total: int, **figures: float) -> None:
        if self._show_progress is not None:
            self._show_progress(done, total, **figures)

    @cached_property
    def signature(self) -> str:
        return config.signature(self.settings)

    def record(self) -> dict[str, Any]:
        """What `run.json` says of the run besides the environment."""
        return {
            "name": self.settings.name,
            "seed": self.settings.seed,
            "signature": self.signature,
            "device": self.device.describe(),
            "precision": self.device.precision,
            "data": {"name": self.dataset.name, "sha256": self.dataset.fingerprint()},
        }

    @property
    def search_settings(self) -> config.SearchConfig:
        assert isinstance(self.settings, config.SearchConfig)
        return self.settings

    @cached_property
    def strategy(self) -> Strategy:
        """Built after the one capability check: does the space offer what the strategy needs?"""
        node = self.search_settings.strategy
        needs = build.target(node).space_needs
        if not isinstance(self.space, needs):
            raise UsageError(
                f"strategy={node['_target_'].rpartition('.')[2]} needs a space that is a "
                f"{needs.__name__}, and {self.space.name} is none: choose another space"
            )
        strategy: Strategy = build.build(node, self)
        return strategy

    @cached_property
    def evaluator(self) -> Evaluator:
        evaluator: Evaluator = build.build(self.search_settings.evaluator, self)
        return evaluator

    def scorer(self, **settings: Any) -> Scorer:
        scorer: Scorer = build.build(self.search_settings.evaluator, self, **settings)
        return scorer


class _Collector:
    """Calls several constructors and raises their `UsageError`s together."""

    def __enter__(self) -> Callable[[Callable[[], Any]], Any]:
        self._problems: list[str] = []

        def collect(construct: Callable[[], Any]) -> Any:
            try:
                return construct()
            except UsageError as error:
                self._problems.append(str(error))
                return None

        return collect

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            raise_together(self._problems)

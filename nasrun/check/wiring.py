"""Wire a rehearsal, which leaves out what its clock counts, and watch its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from nasrun.check.clock import (
    Clock,
    KnownAnswers,
    RememberedFreeScores,
    RememberedLabels,
    RememberedScores,
)
from nasrun.check.data import ShortDataset
from nasrun.check.forecast import Part
from nasrun.config import plugins
from nasrun.config.schema import RunConfig
from nasrun.engine import untrained
from nasrun.engine.wiring import Wiring, load_dataset
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Dataset
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.knowledge import FreeScores
from nasrun.protocols.scorer import Scorer
from nasrun.randomness import RandomStreams
from nasrun.terminal.console import console
from nasrun.terminal.progress import Display

LOSSES = ("loss", "train_loss")  # names among the metrics of a step


class ShortWiring(Wiring):
    """A `Wiring` with few batches of each pass over the data, and few real scores and labels.

    Args:
        labels: the labels known so far, shared with other searches on the same evaluator.
    """

    def __init__(self, settings: RunConfig, clock: Clock, labels: KnownAnswers[Evaluation]) -> None:
        self._clock, self._labels = clock, labels
        super().__init__(settings)

    def restart(self) -> None:
        """Drop all but the data and the space, to be built anew as in a new process."""
        self.streams = RandomStreams(self.settings.seed)
        for name in ("strategy", "evaluator", "raw_evaluator", "zero_cost", "insight"):
            vars(self).pop(name, None)

    @cached_property
    def dataset(self) -> Dataset:
        return ShortDataset(load_dataset(self.settings.dataset), self._clock)

    @cached_property
    def raw_evaluator(self) -> Evaluator:
        evaluator: Evaluator = plugins.build(self.search_settings.evaluator, self)
        if not evaluator.evaluates:
            return evaluator
        # the first label of a supernet is its training, which each search pays for
        known = KnownAnswers(self._clock) if evaluator.labels_are_scores else self._labels
        alone = (evaluator.at_once or 1) == 1
        evaluate = evaluator.evaluate if alone else self._as_in_a_worker()
        return RememberedLabels(evaluator, known, evaluate)

    def _as_in_a_worker(self) -> Callable[[Sequence[Genotype]], list[Evaluation]]:
        """Return the `evaluate` of a worker, to be called in this process.

        Here the data are short and the clock is at hand; it gets the threads of a worker.
        """
        workers = self._workers
        assert workers is not None
        num_threads = workers.threads
        evaluator = plugins.build(
            plugins.with_settings(self.search_settings.evaluator, workers=1), self
        )
        self._workers = workers  # `build` has set one of its own

        def evaluate(genotypes: Sequence[Genotype]) -> list[Evaluation]:
            before = torch.get_num_threads()
            torch.set_num_threads(num_threads)
            try:
                labels: list[Evaluation] = evaluator.evaluate(genotypes)
                return labels
            finally:
                torch.set_num_threads(before)

        return evaluate

    @cached_property
    def zero_cost(self) -> FreeScores:
        scores = untrained.scores_of(self)
        return RememberedFreeScores(scores, self._clock) if scores.takes_time else scores

    def scorer(self, **settings: Any) -> Scorer:
        return RememberedScores(super().scorer(**settings), self._clock)


class Watch(Display):
    """A display that keeps what the steps of a piece of work took, and shows on terminals only."""

    def __init__(self, clock: Clock, part: Part) -> None:
        super().__init__(quiet=not console().is_terminal)
        self._clock, self._part = clock, part

    def start(self, phase: str, unit: str, total: int | None, done: int) -> None:
        super().start(phase, unit, total, done)
        self._part.unit, self._part.num_steps = unit, total

    def step(self, number: int, metrics: Mapping[str, float], best: float | None) -> str:
        self._part.real_s += metrics["seconds"]
        self._part.steps_s.append(metrics["seconds"] + self._clock.take())
        self._part.losses += [metrics[name] for name in LOSSES if name in metrics]
        self._clock.num_steps += 1
        return super().step(number, metrics, best)

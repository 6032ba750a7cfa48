"""Count in seconds what a rehearsal leaves out, and answer costly calls once they are known.

`score` and `evaluate` are real at first. Then their answers are drawn from the real ones, and the
time that a real call would have taken goes on the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, Evaluator
from nasrun.protocols.knowledge import FreeScores
from nasrun.protocols.labels import FAILURES
from nasrun.protocols.scorer import Scorer, Scores
from nasrun.protocols.space import Mixture, Statistics
from nasrun.protocols.wrappers import WrappedEvaluator, WrappedScorer

Answer = TypeVar("Answer")

ENOUGH_S, LONGEST_S = 4.0, 12.0  # real calls: after the first step; within it, at the most


@dataclass
class Clock:
    """The seconds that were left out, and the steps so far."""

    skipped_s: float = 0.0
    num_steps: int = 0

    def skip(self, seconds: float) -> None:
        self.skipped_s += seconds

    def take(self) -> float:
        """Return the seconds left out since the last call."""
        seconds, self.skipped_s = self.skipped_s, 0.0
        return seconds


@dataclass
class KnownAnswers(Generic[Answer]):
    """Real answers of a costly call, and what they cost.

    All calls of the first step are real, so that each kind of call is among them, unless they take
    too long.
    """

    clock: Clock
    answers: list[Answer | Exception] = field(default_factory=list)
    costs_s: list[float] = field(default_factory=list)  # for each answer, with what was left out
    spent_s: float = 0.0
    first_step: int | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def suffices(self) -> bool:
        """Return whether enough real calls were made to answer the next ones from memory."""
        in_first_step = self.first_step in (None, self.clock.num_steps)
        enough = self.spent_s >= (LONGEST_S if in_first_step else ENOUGH_S)
        return enough and len(self.answers) > 1

    @property
    def cost_s(self) -> float:
        """Return the mean cost of an answer in seconds.

        The first answer may have had a supernet trained for it, and is left out where there are
        others.
        """
        return float(np.mean(self.costs_s[1:] or self.costs_s))

    def note(self, call: Callable[[], Sequence[Answer]]) -> None:
        """Keep the answers of a real call, or what it raised."""
        if self.first_step is None:
            self.first_step = self.clock.num_steps
        started, skipped_s = time.perf_counter(), self.clock.skipped_s
        answers: Sequence[Answer | Exception]
        try:
            answers = call()
        except FAILURES as failure:
            answers = [failure]
        seconds = time.perf_counter() - started
        self.spent_s += seconds
        cost_s = seconds + self.clock.skipped_s - skipped_s
        self.costs_s += [cost_s / len(answers)] * len(answers)
        self.answers += answers

    def draw(self) -> Answer:
        """Draw one of the answers; a failure is raised."""
        self.clock.skip(self.cost_s)
        return raised(self.answers[int(self.rng.integers(len(self.answers)))])


def raised(answer: Answer | Exception) -> Answer:
    if isinstance(answer, Exception):
        raise answer
    return answer


class RememberedLabels(WrappedEvaluator):
    """An evaluator whose labels are real until enough of them are known.

    Args:
        evaluate: buys the real ones, one genotype a call, or all that compete.
    """

    def __init__(
        self,
        inner: Evaluator,
        known: KnownAnswers[Evaluation],
        evaluate: Callable[[Sequence[Genotype]], list[Evaluation]],
    ) -> None:
        super().__init__(inner)
        self._known, self._evaluate = known, evaluate

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        clock = self._known.clock
        started = time.perf_counter() + clock.skipped_s
        # those that compete are asked for together, as in the run
        size = len(genotypes) if self.bracket else 1
        parts = [genotypes[place : place + size] for place in range(0, len(genotypes), size or 1)]
        found = [label for part in parts for label in self._labels(part)]
        seconds = time.perf_counter() + clock.skipped_s - started
        share = math.ceil(len(found) / (self.at_once or 1)) / len(found)
        clock.skip((share - 1.0) * seconds)  # here one by one, there side by side
        return found

    def _labels(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        if self._known.suffices:
            return [replace(self._known.draw(), genotype=genotype) for genotype in genotypes]
        before = len(self._known.answers)
        self._known.note(lambda: self._evaluate(genotypes))
        return [raised(answer) for answer in self._known.answers[before:]]


class RememberedScores(WrappedScorer):
    """A scorer whose scores are real until enough of them are known."""

    def __init__(self, inner: Scorer, clock: Clock) -> None:
        super().__init__(inner)
        self._known = KnownAnswers[tuple[float, float, float, float]](clock)

    def score(
        self, candidates: Sequence[Mixture], batch: Any, statistics: Statistics = "batch"
    ) -> Scores:
        if self._known.suffices:
            drawn = np.array([self._known.draw() for _ in candidates])
            self.inner.num_scorings += len(candidates)
            noise_N = drawn[:, 2] if len(drawn) > 1 else None
            return Scores(drawn[:, 0], drawn[:, 1], noise_N, drawn[:, 3])
        real = list[Scores]()

        def ask() -> list[tuple[float, float, float, float]]:
            scores = self.inner.score(candidates, batch, statistics)
            real.append(scores)
            noise_N = np.zeros(len(candidates)) if scores.noise_N is None else scores.noise_N
            own = (scores.loss_N, scores.accuracy_N, noise_N, scores.quality_N)
            return list(zip(*own, strict=True))

        self._known.note(ask)
        if not real:
            raised(self._known.answers[-1])
        return real[0]


class RememberedFreeScores(FreeScores):
    """Scores without training that are real until enough of them are known."""

    takes_time = True

    def __init__(self, inner: FreeScores, clock: Clock) -> None:
        self.names, self.how, self.num_affordable = inner.names, inner.how, inner.num_affordable
        self._inner = inner
        self._known = KnownAnswers[np.ndarray](clock)

    def values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        return np.array([self._values_F(genotype) for genotype in genotypes])

    def _values_F(self, genotype: Genotype) -> np.ndarray:
        if self._known.suffices:
            return self._known.draw()
        self._known.note(lambda: list(self._inner.values([genotype])))
        return raised(self._known.answers[-1])

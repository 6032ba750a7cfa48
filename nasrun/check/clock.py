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
from nasrun.protocols.evaluation import Evaluation
from nasrun.protocols.labels import FAILURES
from nasrun.protocols.scorer import Scores

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
class Memory(Generic[Answer]):
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


def remembered_labels(
    memory: Memory[Evaluation],
    evaluate: Callable[[Sequence[Genotype]], list[Evaluation]],
    at_once: int = 1,
) -> Callable[[Sequence[Genotype]], list[Evaluation]]:
    """Return a function to stand in for an evaluator's `evaluate`.

    `at_once` is how many genotypes the evaluator works on side by side.
    """
    clock = memory.clock

    def label(genotype: Genotype) -> Evaluation:
        if memory.suffices:
            return replace(memory.draw(), genotype=genotype)
        memory.note(lambda: evaluate([genotype]))
        return raised(memory.answers[-1])

    def labels(genotypes: Sequence[Genotype]) -> list[Evaluation]:
        started = time.perf_counter() + clock.skipped_s
        found = [label(genotype) for genotype in genotypes]
        seconds = time.perf_counter() + clock.skipped_s - started
        share = math.ceil(len(found) / at_once) / len(found)
        clock.skip((share - 1.0) * seconds)  # here one by one, there side by side
        return found

    return labels


def remembered_scores(memory: Memory[tuple[float, float, float]], scorer: Any) -> Any:
    """Return a function to stand in for a scorer's `score`."""
    real = scorer.score

    def score(candidates: Sequence[Any], *arguments: Any, **keywords: Any) -> Scores:
        scores: Scores | None = None

        def ask() -> list[tuple[float, float, float]]:
            nonlocal scores
            scores = real(candidates, *arguments, **keywords)
            noise_N = np.zeros(len(candidates)) if scores.noise_N is None else scores.noise_N
            return list(zip(scores.loss_N, scores.accuracy_N, noise_N, strict=True))

        if not memory.suffices:
            memory.note(ask)
            if scores is None:
                raised(memory.answers[-1])
        else:
            drawn = np.array([memory.draw() for _ in candidates])
            scorer.num_scorings += len(candidates)
            scores = Scores(drawn[:, 0], drawn[:, 1], drawn[:, 2] if len(drawn) > 1 else None)
        assert scores is not None
        return scores

    return score

"""Keep the labels of a run: their record, their cache and their budget.

A label is one true evaluation. Genotypes that compute the same function (`space.canonical`) share
one label; a training that fails is a label too, with an error and values of infinity.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nasrun.compute.process_group import is_lost
from nasrun.errors import RunError, require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, Evaluator, Objective, StepReport, costs
from nasrun.protocols.measure import Limits
from nasrun.protocols.pareto import non_dominated_ranks
from nasrun.protocols.space import SearchSpace

MAX_MISSES = 1000  # draws in a row that are not new; then a source is taken for exhausted

# What a training can die of. A `UsageError` is the user's to mend, and any other a fault of ours.
FAILURES = (RunError, RuntimeError, ArithmeticError, MemoryError)


class Labels:
    """The labels of one run, bought from an evaluator.

    All that is new goes in one request to an evaluator that works `at_once`, and in one request
    each to any other.

    Args:
        budget: how many labels can be bought, at most.
        limits: what a result is held to; `None` is nothing.
    """

    def __init__(
        self, evaluator: Evaluator, space: SearchSpace, budget: int, limits: Limits | None = None
    ) -> None:
        self.budget = budget
        self._evaluator = evaluator
        self._limits = limits
        self._canonical = space.canonical
        self._known: dict[str, Evaluation] = {}  # by canonical form, in the order of asking
        self._ahead: list[Evaluation] = []  # bought before they were asked for, see `evaluate_next`
        self._num_reported = 0
        self._exhausted = False

    def limited(self, num_labels: int) -> Labels:
        """Lower the budget to `num_labels`, unless it is lower already; return the same labels."""
        require(num_labels >= 1, "budget.evaluations", num_labels, "at least 1")
        self.budget = min(self.budget, num_labels)
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Return what the values of a label are, in their order."""
        return self._evaluator.objectives

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, genotype: Genotype) -> bool:
        """Return whether asking for the label of a genotype costs nothing."""
        return self._canonical(genotype) in self._known

    @property
    def ledger(self) -> tuple[Evaluation, ...]:
        """Return every label in the order in which it was asked for."""
        return tuple(self._known.values())

    @property
    def remaining(self) -> int:
        return max(0, self.budget - len(self))

    @property
    def finished(self) -> bool:
        """Return whether the budget is spent, or `evaluate_new` found too little that is new."""
        return self.remaining == 0 or self._exhausted

    def evaluate(
        self, genotypes: Sequence[Genotype], predicted: Sequence[float] | None = None
    ) -> list[Evaluation]:
        """Return the labels of the genotypes, in their order, without those that the budget denies.

        A failure costs one label. `predicted` are scores, higher is better, that a predictor gave
        them: they are kept beside the labels, under `predicted`.
        """
        keys = [self._canonical(genotype) for genotype in genotypes]
        new: dict[str, int] = {}  # to the place of the first that asks for it
        for place, key in enumerate(keys):
            if key not in self._known and len(new) < self.remaining:
                new.setdefault(key, place)
        bought = self._buy([genotypes[place] for place in new.values()])
        for (key, place), label in zip(new.items(), bought, strict=True):
            if predicted is not None:
                details = {**label.details, "predicted": float(predicted[place])}
                label = replace(label, details=details)
            self._known[key] = label
        return [
            replace(self._known[key], genotype=genotype)
            for key, genotype in zip(keys, genotypes, strict=True)
            if key in self._known
        ]

    def evaluate_new(self, count: int, *sources: Callable[[], Genotype]) -> list[Evaluation]:
        """Buy labels for up to `count` genotypes that `draw_new` draws from the sources.

        When it finds fewer, the labels are `finished`.
        """
        wanted = min(count, self.remaining)
        found = self.draw_new(wanted, *sources)
        self._exhausted = len(found) < wanted
        return self.evaluate(found)

    def evaluate_next(self, *sources: Callable[[], Genotype], most: int) -> list[Evaluation]:
        """Buy the label of the next new genotype of the sources, and others ahead of it.

        It is the same as `evaluate_new(1, *sources)` where the next `most` draws depend on no
        label. So as many of them as the evaluator works on at once, or lets compete, are drawn and
        bought together; those that were not asked for yet wait for the next calls, outside of the
        ledger.
        """
        if self.remaining == 0:
            return []
        if not self._ahead:
            at_once = self._evaluator.bracket or self._evaluator.at_once or 1
            self._ahead = self._buy(self.draw_new(min(most, at_once, self.remaining), *sources))
        self._exhausted = not self._ahead
        asked, self._ahead = self._ahead[:1], self._ahead[1:]
        self._known |= {self._canonical(label.genotype): label for label in asked}
        return asked

    def draw_new(self, count: int, *sources: Callable[[], Genotype]) -> list[Genotype]:
        """Draw up to `count` genotypes without a label, no two of them isomorphic; label none.

        They are drawn from the first source, and from the next one where a source yields nothing
        new `MAX_MISSES` times in a row.
        """
        found: dict[str, Genotype] = {}
        for source in sources:
            misses = 0
            while len(found) < count and misses < MAX_MISSES:
                genotype = source()
                key = self._canonical(genotype)
                new = key not in self._known and key not in found
                misses = 0 if new else misses + 1
                if new:
                    found[key] = genotype
        return list(found.values())

    def _buy(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        evaluator = self._evaluator
        if evaluator.at_once is not None:
            return evaluator.evaluate(genotypes) if genotypes else []
        return [
            attempted(lambda one: evaluator.evaluate([one])[0], genotype, evaluator.objectives)
            for genotype in genotypes
        ]

    def best(self) -> Evaluation:
        """Return the label of the lowest validation error that is within the limits.

        Of equals it is the one of the lower further objectives, then the first. Whether a label is
        within the limits is measured from the best one on, so few need be.

        Raises:
            RunError: there is no label that has not failed, or none within the limits.
        """
        usable = [evaluation for evaluation in self.ledger if evaluation.error is None]
        if not usable:
            errors = "; ".join({str(evaluation.error) for evaluation in self.ledger})
            raise RunError(f"none of {len(self)} evaluations succeeded: {errors}")
        usable.sort(key=lambda evaluation: evaluation.values)
        found = next(filter(self._holds, usable), None)
        if found is None:
            raise RunError(
                f"none of {len(usable)} evaluated architectures is within the limits: raise a "
                "limit, constraint.measurements or budget.evaluations"
            )
        return found

    def front(self) -> list[Evaluation]:
        """List the labels within the limits that no other one beats in all objectives.

        They are in the order of the validation error; of equal values there is one.
        """
        usable = {label.values: label for label in self.ledger if label.error is None}
        while usable:
            rank_N = non_dominated_ranks(costs(list(usable.values()), self.objectives))
            found = [one for one, rank in zip(usable.values(), rank_N, strict=True) if rank == 0]
            beyond = [one.values for one in found if not self._holds(one)]
            if not beyond:
                return sorted(found, key=validation_error)
            for values in beyond:
                del usable[values]
        return []

    def _holds(self, label: Evaluation) -> bool:
        return self._limits is None or self._limits.holds(label.genotype)

    def new(self) -> tuple[Evaluation, ...]:
        """Return the labels bought since the last call."""
        new = self.ledger[self._num_reported :]
        self._num_reported = len(self)
        return new

    def report(self, metrics: Mapping[str, float] | None = None) -> StepReport:
        """Report a step: its new labels, the best so far, and the strategy's own metrics."""
        new = self.new()
        num_failed = sum(evaluation.error is not None for evaluation in self.ledger)
        figures = {"labels": float(len(self)), "failed_labels": float(num_failed)}
        if new and new[-1].error is None:
            figures |= _validation(new[-1], "")
        if self._evaluator.labels_are_scores:
            figures["scorings"] = float(self._evaluator.num_scorings)
        trained = [label.details["epochs"] for label in self.ledger if "epochs" in label.details]
        if trained:
            figures["label_epochs"] = sum(trained)
        best = self._best_so_far()
        if self._limits is not None and self._limits.num_measurements > 0:
            figures["measurements"] = float(self._limits.num_measurements)
        if best is not None:
            figures |= _validation(best, "best_")
        incumbent = None if best is None else best.genotype
        return StepReport(figures | dict(metrics or {}), new, incumbent)

    def _best_so_far(self) -> Evaluation | None:
        try:
            return self.best()
        except RunError:
            return None

    def state_dict(self) -> dict[str, Any]:
        """Return the labels and the state of the evaluator, as plain values.

        A resumed run finds in them what was paid for already.
        """
        evaluator = self._evaluator
        limits = {} if self._limits is None else {"limits": self._limits.state_dict()}
        return {
            **limits,
            "labels": [_plain(key, label) for key, label in self._known.items()],
            "ahead": [_plain(self._canonical(one.genotype), one) for one in self._ahead],
            "num_reported": self._num_reported,
            "exhausted": self._exhausted,
            "evaluator": evaluator.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._known = {label["canonical"]: _evaluation(label) for label in state["labels"]}
        self._ahead = [_evaluation(label) for label in state["ahead"]]
        self._num_reported = state["num_reported"]
        self._exhausted = state["exhausted"]
        if self._limits is not None:
            self._limits.load_state_dict(state["limits"])
        if self._evaluator.labels_are_scores:
            self._evaluator.load_state_dict(state["evaluator"])


def attempted(
    evaluate: Callable[[Genotype], Evaluation],
    genotype: Genotype,
    objectives: Sequence[Objective],
) -> Evaluation:
    """Evaluate a genotype, and turn a failure into an evaluation with an error.

    A failure is one of `FAILURES`, or values that are not finite.
    """
    started = time.perf_counter()
    try:
        evaluation = evaluate(genotype)
    except FAILURES as failure:
        if is_lost(failure):
            raise
        cost_s, error = time.perf_counter() - started, str(failure) or repr(failure)
    else:
        if np.isfinite(evaluation.values).all():
            return evaluation
        cost_s, error = evaluation.cost_s, f"its values are {evaluation.values}"
    return failed(genotype, error, cost_s, objectives)


def failed(
    genotype: Genotype, error: str, cost_s: float, objectives: Sequence[Objective]
) -> Evaluation:
    """Make the record of a failed evaluation, whose values are the worst there are."""
    values = tuple(objective.worst for objective in objectives)
    return Evaluation(genotype, values, cost_s, error=error)


def _plain(canonical: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "canonical": canonical,
        "genotype": json.dumps(evaluation.genotype.to_json()),
        "values": list(evaluation.values),
        "cost_s": evaluation.cost_s,
        "details": dict(evaluation.details),
        "error": evaluation.error,
    }


def _evaluation(plain: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        Genotype.from_json(json.loads(plain["genotype"])),
        tuple(map(float, plain["values"])),
        float(plain["cost_s"]),
        {str(name): float(value) for name, value in plain["details"].items()},
        None if plain["error"] is None else str(plain["error"]),
    )


def validation_error(evaluation: Evaluation) -> float:
    """Return the first objective, in [0, 1]; infinite where the evaluation failed.

    It is 1 less what the search maximises, which is the accuracy unless it says something else.
    """
    return evaluation.values[0]


def _validation(evaluation: Evaluation, prefix: str) -> dict[str, float]:
    """Return the accuracy of a label and, where the search maximises something else, that."""
    score = 1.0 - validation_error(evaluation)
    accuracy = evaluation.details.get("val_accuracy")
    if accuracy is None:
        return {f"{prefix}val_accuracy": score}
    return {f"{prefix}val_accuracy": accuracy, f"{prefix}val_score": score}

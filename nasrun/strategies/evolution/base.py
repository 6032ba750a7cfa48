"""What the searches that buy labels share: a space, a budget, and an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from nasrun.errors import require
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import Evaluation, StepReport
from nasrun.protocols.labels import Labels
from nasrun.protocols.space import SearchSpace
from nasrun.protocols.strategy import Strategy


class DiscreteSearch(Strategy, ABC):
    """A strategy over genotypes. A subclass says what one step is.

    It ends when the budget is spent, or when the space offers nothing new.

    Args:
        num_labels: how many architectures are evaluated, at most.
    """

    unit: ClassVar[str] = "child"
    labels: Labels
    total_steps: int | None = None

    def __init__(self, context: SearchContext, num_labels: int) -> None:
        self.space: SearchSpace = context.space
        self.rng = context.streams.numpy("search")
        self.labels = context.evaluator.limited(num_labels)
        self.total_steps = num_labels
        self.population: list[Evaluation] = []  # the members that the search goes on from, if any

    @abstractmethod
    def step(self) -> StepReport: ...

    @property
    def finished(self) -> bool:
        return self.labels.finished

    def sample(self) -> Genotype:
        return self.space.sample(self.rng)

    def best(self) -> tuple[Genotype, ...]:
        """The best of all that was evaluated; raises `RunError` where every evaluation failed."""
        return (self.labels.best().genotype,)

    def state_dict(self) -> dict[str, Any]:
        return {
            "labels": self.labels.state_dict(),
            "population": [member.genotype.to_json() for member in self.population],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.labels.load_state_dict(state["labels"])
        members = [Genotype.from_json(genotype) for genotype in state["population"]]
        self.population = self.labels.evaluate(members)  # known, hence free


def require_population(size: int, num_labels: int) -> None:
    """Raise a `UsageError` unless the first population can be labelled."""
    require(size >= 2, "population.size", size, "at least 2")
    allowed = f"at most budget.evaluations={num_labels}, which its first generation costs"
    require(size <= max(2, num_labels), "population.size", size, allowed)

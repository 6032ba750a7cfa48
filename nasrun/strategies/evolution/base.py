"""Share what the searches have that buy labels: a space, a budget, and an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, ClassVar

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import Evaluation, StepReport
from nasrun.protocols.knowledge import Initial
from nasrun.protocols.labels import Labels
from nasrun.protocols.settings import NumLabels, plugin
from nasrun.protocols.space import SearchSpace
from nasrun.protocols.strategy import Strategy
from nasrun.strategies.first_labels import KNOWLEDGE, FirstLabels


@plugin
class DiscreteSearch(Strategy, ABC):
    """A strategy over genotypes. A subclass says what one step is.

    It ends when the budget is spent, or when the space offers nothing new.

    Args:
        num_labels: how many architectures are evaluated, at most.
        initial: which ones come first: `random`, or random ones of the `largest` tenth, or of the
            tenth that scores without training like most (`zero_cost`).
    """

    unit: ClassVar[str] = "child"
    step_cost: ClassVar[str] = "1 label"

    context: SearchContext = field(kw_only=False)
    num_labels: NumLabels
    initial: Initial = "random"  # strategies of others, and runs of earlier versions, lack it
    labels: Labels = field(init=False)
    total_steps: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.space: SearchSpace = self.context.allowed_space
        self.rng = self.context.streams.numpy("search")
        self.labels = self.offered_labels().limited(self.num_labels)
        self.total_steps = self.num_labels
        self.first_labels = (
            None
            if self.initial == "random"
            else FirstLabels(self.context, self.initial, self.num_labels)
        )
        self.knowledge = () if self.initial == "random" else (KNOWLEDGE[self.initial],)
        self.population: list[Evaluation] = []  # the members that the search goes on from, if any

    @abstractmethod
    def step(self) -> StepReport: ...

    @property
    def finished(self) -> bool:
        return self.labels.finished

    def offered_labels(self) -> Labels:
        """Return what the context offers; a search by more objectives asks for others."""
        return self.context.evaluator

    def sample(self) -> Genotype:
        return self.space.sample(self.rng)

    @property
    def first(self) -> tuple[Callable[[], Genotype], ...]:
        """Return the sources of the first labels by `initial`; the last is the whole space."""
        promising = self.first_labels
        if promising is None:
            return (self.sample,)
        return (lambda: promising.sample(self.rng), self.sample)

    def one_edit_away(self, genotype: Genotype) -> list[Genotype]:
        """List all neighbours of an architecture: another gene, or an edge in another place."""
        return self.space.neighbours(genotype) + self.space.edge_moves(genotype)

    def best(self) -> tuple[Genotype, ...]:
        """Return the best of all that was evaluated; raise `RunError` if all evaluations failed."""
        return (self.labels.best().genotype,)

    @property
    def knowledge_how(self) -> str | None:
        return None if self.first_labels is None else self.first_labels.how

    def state_dict(self) -> dict[str, Any]:
        scores = {} if self.first_labels is None else self.first_labels.state_dict()
        return {
            **scores,
            "labels": self.labels.state_dict(),
            "population": [member.genotype.to_json() for member in self.population],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.first_labels is not None:
            self.first_labels.load_state_dict(state)
        self.labels.load_state_dict(state["labels"])
        members = [Genotype.from_json(genotype) for genotype in state["population"]]
        self.population = self.labels.evaluate(members)  # known, hence free

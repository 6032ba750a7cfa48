"""Local search: climb from neighbour to neighbour.

C. White, S. Nolen, Y. Savani. Exploring the Loss Landscape in Neural Architecture Search. UAI 2021,
arXiv 2005.02960. Neighbours differ in one gene:

    evaluate num_initial random architectures and start at the best
    while there is budget:
        evaluate the neighbours of the current architecture in random order;
        move to the first that is better
        if none is better, start again at a random architecture

Deviations: the paper's main variant evaluates all neighbours and moves to the best; moving to the
first that is better costs fewer evaluations. A start that computes what an evaluated architecture
computes is drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import Evaluation, StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.settings import Count, plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class LocalSearch(DiscreteSearch):
    """The strategy; see the module's docstring. Its population is the current architecture.

    Args:
        num_labels: how many architectures are evaluated.
        num_initial: how many random ones come before the first climb.
    """

    num_initial: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        self.untried: list[Genotype] = []  # neighbours of the current architecture

    def step(self) -> StepReport:
        """Buy one new label; what is known already costs nothing on the way to it."""
        num_before = len(self.labels)
        while len(self.labels) == num_before and not self.finished:
            if num_before < self.num_initial:
                self.labels.evaluate_next(*self.first, most=self.num_initial - num_before)
            elif not self.population:
                self.move_to(min(self.labels.ledger, key=validation_error))
            elif self.untried:
                self.try_neighbour(self.untried.pop())
            else:  # a local optimum
                for start in self.labels.evaluate_new(1, self.sample):
                    self.move_to(start)
        return self.labels.report()

    def try_neighbour(self, neighbour: Genotype) -> None:
        (current,) = self.population
        for evaluation in self.labels.evaluate([neighbour]):
            if validation_error(evaluation) < validation_error(current):
                self.move_to(evaluation)

    def move_to(self, evaluation: Evaluation) -> None:
        neighbours = self.space.neighbours(evaluation.genotype)
        self.population = [evaluation]
        self.untried = [neighbours[i] for i in self.rng.permutation(len(neighbours))]

    def state_dict(self) -> dict[str, Any]:
        untried = [genotype.to_json() for genotype in self.untried]
        return {**super().state_dict(), "untried": untried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.untried = [Genotype.from_json(genotype) for genotype in state["untried"]]

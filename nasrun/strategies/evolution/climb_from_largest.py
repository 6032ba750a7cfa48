"""Climb from the largest architecture: a floor that draws nothing, and knows no more than sizes.

No paper; the hill climbing of every textbook. On NAS-Bench-201 it finds what published searches do:
the largest cells are among the best, and the best cell is two moves away from them.

    evaluate the largest architecture
    while there is budget:
        of the labelled architectures whose neighbours have not all been evaluated, take the best
        evaluate all its neighbours: another operation on one edge, or an edge in another place

While neighbours are better this is a climb that moves to the best of them. At a local optimum it
goes on from the next best label, so that all of the budget is spent; of equal labels the first is
taken. With `initial=zero_cost` it starts where scores without training are highest.

Deviations: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.labels import validation_error
from nasrun.protocols.settings import plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class ClimbFromLargest(DiscreteSearch):
    """The strategy; see the module's docstring.

    Args:
        num_labels: how many architectures are evaluated.
        initial: it starts at the `largest` architecture, or at the one whose scores without
            training are the highest (`zero_cost`).
    """

    unit: ClassVar[str] = "move"
    step_cost: ClassVar[str] = "a label per neighbour"

    initial: Literal["largest", "zero_cost"] = "largest"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.total_steps = None  # neighbours may have labels already
        self.left = set[str]()  # canonical forms of those whose neighbours all have labels
        self.is_at_an_end = False

    @property
    def finished(self) -> bool:
        """Return whether the budget is spent, or all that can be reached has a label."""
        return super().finished or self.is_at_an_end

    def step(self) -> StepReport:
        """Evaluate the start, or the neighbours of the best that has some without a label."""
        if len(self.labels) == 0:
            assert self.first_labels is not None
            self.labels.evaluate([self.first_labels.best()])
        else:
            self.climb()
        return self.labels.report()

    def climb(self) -> None:
        num_before = len(self.labels)
        for genotype in self.by_error():
            self.left.add(self.space.canonical(genotype))
            self.labels.evaluate(self.one_edit_away(genotype))
            if len(self.labels) > num_before:
                return
        self.is_at_an_end = True

    def by_error(self) -> list[Genotype]:
        """List the labelled architectures that have not been left, the best first."""
        ordered = sorted(self.labels.ledger, key=validation_error)
        genotypes = [label.genotype for label in ordered]
        return [one for one in genotypes if self.space.canonical(one) not in self.left]

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "left": sorted(self.left),
            "is_at_an_end": self.is_at_an_end,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.left = set(state["left"])
        self.is_at_an_end = bool(state["is_at_an_end"])

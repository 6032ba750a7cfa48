"""Rank by a proxy: buy labels in the order of scores that need no training; a floor.

M. S. Abdelfattah, A. Mehrotra, L. Dudziak, N. D. Lane. Zero-Cost Proxies for Lightweight NAS. ICLR
2021, arXiv 2101.08134. The simplest search with a proxy, which learns nothing from its labels:

    score all architectures of a small space, or as many as can be afforded
    while there is budget:
        evaluate the one with the highest score that has no label yet
    return the best

With `initial=largest` it ranks by parameters and multiply-adds. Architectures of equal score are
ordered by the seed. Where all that were scored have a label, it goes on at random.

Deviations:
- The paper returns the architecture with the highest score of all, which is this search with one
  label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.evaluation import StepReport
from nasrun.protocols.settings import plugin
from nasrun.strategies.evolution.base import DiscreteSearch


@plugin
class RankByProxy(DiscreteSearch):
    """The strategy; see the module's docstring.

    Args:
        num_labels: how many architectures are evaluated.
        initial: what it ranks by: `zero_cost`, the scores of `proxy=`, or how large networks are
            (`largest`).
    """

    initial: Literal["zero_cost", "largest"] = "zero_cost"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.place = 0  # in the order of the scores, of the next one

    def step(self) -> StepReport:
        """Buy one label, and report the scores for which it was bought."""
        most = self.labels.remaining
        bought = self.labels.evaluate_next(self.next_best, self.sample, most=most)
        assert self.first_labels is not None
        scores = [self.first_labels.figures(label.genotype) for label in bought]
        return self.labels.report(scores[0] if scores else {})

    def next_best(self) -> Genotype:
        """Return the next one in the order of the scores; after the last one that one again."""
        assert self.first_labels is not None
        ranked = self.first_labels.ranked
        genotype = ranked[min(self.place, len(ranked) - 1)]
        self.place += 1
        return genotype

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "place": self.place}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.place = int(state["place"])

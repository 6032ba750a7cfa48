"""Share what BANANAS and NPENAS have: a round chooses among mutants of the best architectures."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.predictor import Prediction
from nasrun.protocols.settings import Count, plugin
from nasrun.strategies.guided.base import PredictorGuidedSearch


@plugin
class MutantSearch(PredictorGuidedSearch):
    """A search among mutants; a subclass says what a prediction is worth.

    Args:
        predictor: makes the predictor of `conf/predictor`, given its generator.
        num_labels: how many architectures are evaluated.
        num_initial: how many random ones come first.
        num_infill: k, labels per round.
        num_parents: the best labelled ones, which are mutated in turn.
        num_candidates: mutants without a label, of which a round chooses.
    """

    num_parents: Count
    num_candidates: Count

    def propose(self, ranked: Sequence[Genotype]) -> dict[Genotype, float]:
        candidates = self.mutants(ranked[: self.num_parents])
        worth_C = self.worth(self.predict(candidates))
        return dict(zip(candidates, worth_C.tolist(), strict=True))

    def mutants(self, parents: Sequence[Genotype]) -> list[Genotype]:
        """Mutate one parent after the other into candidates without a label, none isomorphic.

        There are fewer than `num_candidates` where no more are to be had.
        """
        turns = itertools.cycle(parents)
        return self.labels.draw_new(
            self.num_candidates, lambda: self.space.mutate(next(turns), self.rng)
        )

    @abstractmethod
    def worth(self, prediction: Prediction) -> np.ndarray:
        """Return worth_C: what is maximised among the candidates."""

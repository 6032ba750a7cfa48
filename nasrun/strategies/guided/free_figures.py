"""Say what is known of architectures for nothing, in figures that a predictor can read.

Shapes: N architectures, P architectures to compare with, F figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.knowledge import FreeScores, Knowledge
from nasrun.protocols.predictor import Features
from nasrun.protocols.space import ArchGraph, SearchSpace
from nasrun.strategies.free_pool import free_pool

NUM_COMPARED = 1_000  # architectures of a large space; a percentile is then exact to .015
DEVIATION = 12**-0.5  # of percentiles, which are spread evenly over [0, 1]


def kinds(features: Features) -> tuple[Knowledge, ...]:
    """Return the knowledge that features ask for, the graph left out."""
    asked = features.split("+")
    return tuple(kind for kind in KINDS if kind in asked)


KINDS: tuple[Knowledge, ...] = ("size", "zero_cost")


class FreeFigures:
    """Figures of architectures as percentiles among those of the space.

    Sizes and scores have units of their own, some over many orders of magnitude; the percentile
    of an architecture in its space is the same whatever the unit is.
    """

    def __init__(self, context: SearchContext, features: Features) -> None:
        self._space: SearchSpace = context.allowed_space
        self._sources: list[FreeScores] = [context.free_scores(kind) for kind in kinds(features)]
        self.takes_time = any(source.takes_time for source in self._sources)

    def of(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        """Return figures_NF, float64, of mean 0 and deviation 1 over the space."""
        values_NF = self._values(genotypes)
        columns = zip(values_NF.T, self._compared_PF.T, strict=True)
        percentile_FN = np.array([percentiles(values_N, one_P) for values_N, one_P in columns])
        return (percentile_FN.T - 0.5) / DEVIATION

    def beside(self, genotypes: Sequence[Genotype], graphs: Sequence[ArchGraph]) -> list[ArchGraph]:
        """Return the graphs of architectures with their figures."""
        figures_NF = self.of(genotypes).tolist()
        return [
            replace(graph, figures=tuple(figures_F))
            for graph, figures_F in zip(graphs, figures_NF, strict=True)
        ]

    @cached_property
    def _compared_PF(self) -> np.ndarray:
        affordable = min(source.num_affordable for source in self._sources)
        return self._values(free_pool(self._space, min(NUM_COMPARED, affordable)))

    def _values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        values_NF = np.hstack([source.values(genotypes) for source in self._sources])
        return np.where(np.isfinite(values_NF), values_NF, -np.inf)


def percentiles(values_N: np.ndarray, compared_P: np.ndarray) -> np.ndarray:
    """Return the share of `compared_P` that is below each value; equal ones count half.

    >>> percentiles(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    from scipy.stats import percentileofscore

    return np.asarray(percentileofscore(compared_P, values_N, kind="mean")) / 100

"""CMA-ES as EG-NAS uses it: many short runs from one template (N. Hansen's pycma).

Shapes: N candidates, D dimensions.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np

Covariance = Literal["full", "separable"]


class EvolutionStrategies:
    """Makes evolution strategies that differ in their initial mean and step size.

    Args:
        dimension: D.
        population_size: lambda, candidates per generation.
        rng: all draw from it, in the order in which they ask. It may be replaced.
        covariance: `full`, or `separable`: a variance for each dimension, which adapts in fewer
            generations where D is large (Ros and Hansen, PPSN 2008).
    """

    def __init__(
        self, dimension: int, population_size: int, rng: np.random.Generator, covariance: Covariance
    ) -> None:
        self.rng = rng
        self.dimension = dimension
        self.options: dict[str, Any] = {
            "popsize": population_size,
            "randn": lambda *shape: self.rng.standard_normal(shape),
            "seed": np.nan,  # any other value seeds numpy's global generator
            "verbose": -9,
            "CMA_diagonal": covariance == "separable",
        }
        self._template: Any = None

    def start(self, mean_D: np.ndarray, sigma: float) -> Any:
        """A `cma.CMAEvolutionStrategy`: `ask`, `tell`, `mean`, `sigma`. It is a copy, in a sixth of
        the time that pycma takes to read its options."""
        import cma

        if self._template is None or self._template.sigma != sigma:
            at_zero = np.zeros(self.dimension)
            self._template = cma.CMAEvolutionStrategy(at_zero, sigma, self.options)
        strategy = copy.deepcopy(self._template)
        for place in ("x0", "mean", "mean0", "mean_after_tell"):
            setattr(strategy, place, mean_D.copy())
        return strategy

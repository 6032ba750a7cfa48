"""Run CMA-ES as EG-NAS does: many short runs from one template (N. Hansen's pycma).

Shapes: N candidates, D dimensions.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np

SigmaSchedule = Literal["constant", "inverse"]
"""How the step size depends on the epoch: it is always sigma, or it is sigma / t in the t-th epoch
after warm-up (never below .02, nor above sigma)."""
Covariance = Literal["full", "separable"]

SIGMA_MIN = 0.02  # of the inverse schedule, as in the public code


class EvolutionStrategies:
    """Make evolution strategies that differ in their initial mean and step size.

    Args:
        dimension: D.
        population_size: lambda, candidates per generation.
        rng: all draw from it, in the order in which they ask. It may be replaced.
        sigma: initial step size, see `SigmaSchedule`.
        covariance: `full`, or `separable`: a variance for each dimension, which adapts in fewer
            generations where D is large (Ros and Hansen, PPSN 2008).
        active: whether the worse half counts too, by negative weights (Jastrebski and Arnold, CEC
            2006; pycma's default). Eq. 5 sums the better half.
    """

    def __init__(
        self,
        dimension: int,
        population_size: int,
        rng: np.random.Generator,
        *,
        sigma: float,
        schedule: SigmaSchedule,
        covariance: Covariance,
        active: bool,
    ) -> None:
        self.rng = rng
        self.sigma = sigma
        self.schedule = schedule
        self.dimension = dimension
        self.options: dict[str, Any] = {
            "popsize": population_size,
            "randn": lambda *shape: self.rng.standard_normal(shape),
            "seed": np.nan,  # any other value seeds numpy's global generator
            "verbose": -9,
            "CMA_active": active,
            "CMA_diagonal": covariance == "separable",
        }
        self._template: Any = None  # of the step size that was last asked for

    def start(self, mean_D: np.ndarray, epoch: int) -> EvolutionStrategy:
        """Make one around a mean, with the step size of the `epoch`-th epoch after warm-up.

        It copies a template, in a sixth of the time that pycma takes to read its options.
        """
        import cma

        sigma = self.sigma
        if self.schedule == "inverse":
            sigma = max(sigma / max(1, epoch), min(SIGMA_MIN, sigma))
        if self._template is None or self._template.sigma != sigma:
            at_zero = np.zeros(self.dimension)
            self._template = cma.CMAEvolutionStrategy(at_zero, sigma, self.options)
        strategy = copy.deepcopy(self._template)
        for place in ("x0", "mean", "mean0", "mean_after_tell"):
            setattr(strategy, place, mean_D.copy())
        return EvolutionStrategy(strategy)


class EvolutionStrategy:
    """One run of CMA-ES, a `cma.CMAEvolutionStrategy` over arrays."""

    def __init__(self, of_pycma: Any) -> None:
        self.of_pycma = of_pycma

    def ask(self) -> np.ndarray:
        """Draw a population (Eq. 3); candidates_ND."""
        return np.stack(self.of_pycma.ask())

    def tell(self, candidates_ND: np.ndarray, fitness_N: np.ndarray) -> None:
        """Update mean, covariance and step size (Eq. 4, 5) by a fitness that is minimised.

        One fitness is finite at least. pycma would take NaN for a score: a failed candidate ranks
        behind the worst one.
        """
        finite_N = np.isfinite(fitness_N)
        worst = fitness_N[finite_N].max() + 1.0
        self.of_pycma.tell(list(candidates_ND), list(np.where(finite_N, fitness_N, worst)))

    @property
    def mean(self) -> np.ndarray:
        """Return m, which no generation has scored; mean_D."""
        return np.asarray(self.of_pycma.mean)

    @property
    def sigma(self) -> float:
        return float(self.of_pycma.sigma)

"""BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture Search.

C. White, W. Neiswanger, Y. Savani. AAAI 2021, arXiv 1910.11858.

Bayesian optimisation without a Gaussian process: an ensemble of networks on path codes predicts an
accuracy, and the spread of its members says how sure it is (predictors/path_mlp.py):

    label N random architectures
    until the labels are spent:
        fit the ensemble to all labels
        mutate the best labelled architectures until there are 100 candidates without a label
        draw for each candidate, independently, from Normal(mean, deviation) of the ensemble
        label the k candidates of the highest draws             independent Thompson sampling
    return the best labelled architecture

Deviations: where fewer than k candidates can be had, random architectures make up for them.
"""

from __future__ import annotations

import numpy as np

from nasrun.protocols.predictor import Prediction
from nasrun.strategies.guided.mutants import MutantSearch


class BANANAS(MutantSearch):
    """The strategy; see the module's docstring, and `mutants.MutantSearch` for its settings."""

    def worth(self, prediction: Prediction) -> np.ndarray:
        """Draw once for each candidate, independent of the others."""
        mean_C, deviation_C = prediction
        return mean_C + deviation_C * self.rng.standard_normal(len(mean_C))

"""NPENAS: Neural Predictor Guided Evolution for Neural Architecture Search.

C. Wei, C. Niu, Y. Tang, Y. Wang, H. Hu, J. Liang. 2020, arXiv 2003.12857.

In evolution a parent has few children, since each costs a label. With a predictor it can have many,
of which only the most promising ones are labelled (NPENAS-NP; predictors/gin.py):

    label N random architectures
    until the labels are spent:
        fit the predictor to all labels
        mutate the best labelled architectures until there are 100 candidates without a label
        label the k candidates of the highest predicted score
    return the best labelled architecture

Deviations: where fewer than k candidates can be had, random architectures make up for them.
NPENAS-BO, which draws scores from a Gaussian head, is left out: `strategy=bananas` draws, too.
"""

from __future__ import annotations

import numpy as np

from nasrun.protocols.predictor import Prediction
from nasrun.strategies.guided.mutants import MutantSearch


class NPENAS(MutantSearch):
    """The strategy; see the module's docstring, and `mutants.MutantSearch` for its settings."""

    def worth(self, prediction: Prediction) -> np.ndarray:
        """Take the predicted score itself."""
        return prediction.score_N

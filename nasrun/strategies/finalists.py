"""Rank architectures by the weights that they share, to choose a result among samples.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.scorer import Scorer
from nasrun.protocols.state import Progress

AT_ONCE = 50  # candidates that are scored between two signs of progress


def ranked(
    scorer: Scorer, candidates: Sequence[Genotype], batches: Sequence[Any], progress: Progress
) -> tuple[list[Genotype], np.ndarray, np.ndarray]:
    """Sort by the accuracy on all batches, equals by the loss, then as they came; the best first.

    Returns:
        The candidates, their accuracy_N and their loss_N, float64.
    """
    loss_N, accuracy_N = np.zeros((2, len(candidates)))
    for start in range(0, len(candidates), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        for batch in batches:
            scores = scorer.score_paths(candidates[part], batch)
            loss_N[part] += scores.loss_N / len(batches)
            accuracy_N[part] += scores.accuracy_N / len(batches)
        progress(min(part.stop, len(candidates)), len(candidates))
    order_N = np.lexsort((loss_N, -accuracy_N))  # NaN comes last
    return [candidates[place] for place in order_N], accuracy_N[order_N], loss_N[order_N]

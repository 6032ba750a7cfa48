"""Rank architectures by the weights that they share, to choose a result among samples.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.scorer import Scorer, Scores, mean_scores
from nasrun.protocols.state import Progress

AT_ONCE = 50  # candidates that are scored between two signs of progress


def ranked(
    scorer: Scorer, candidates: Sequence[Genotype], batches: Sequence[Any], progress: Progress
) -> tuple[list[Genotype], Scores]:
    """Sort by the metric on all batches, equals by the loss, then as they came; the best first.

    Returns:
        The candidates, and the means of their scores over the batches.
    """
    parts = list[Scores]()
    for start in range(0, len(candidates), AT_ONCE):
        part = candidates[start : start + AT_ONCE]
        parts.append(mean_scores([scorer.score_paths(part, batch) for batch in batches]))
        progress(min(start + AT_ONCE, len(candidates)), len(candidates))
    quality_N = np.concatenate([one.quality_N for one in parts])
    scores = Scores(
        np.concatenate([one.loss_N for one in parts]),
        np.concatenate([one.accuracy_N for one in parts]),
        metric_N=None if parts[0].metric_N is None else quality_N,
    )
    order_N = np.lexsort((scores.loss_N, -quality_N))  # NaN comes last
    return [candidates[place] for place in order_N], scores.at(order_N)

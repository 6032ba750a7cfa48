"""Choose a result among architectures by the weights that they share (sample and rank)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.scorer import Scorer


def most_accurate(
    scorer: Scorer, genotypes: Sequence[Genotype], batch: Any
) -> tuple[Genotype, dict[str, float]]:
    """Return the best of some architectures on the same images, and its loss and accuracy.

    Among equals the one with the lower loss is taken, then the first.
    """
    scores = scorer.score_paths(genotypes, batch)
    loss_N, accuracy_N = scores.loss_N, scores.accuracy_N
    best = min(range(len(genotypes)), key=lambda n: (-accuracy_N[n], loss_N[n]))
    return genotypes[best], {
        "val_loss": float(loss_N[best]),
        "val_accuracy": float(accuracy_N[best]),
    }

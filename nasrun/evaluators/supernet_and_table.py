"""Search on a supernet, and look the result up in a benchmark table.

So papers on weight sharing use the tables of NAS-Bench-201: a supernet is trained and scores the
candidates on real images, and the cell that comes out is looked up in the table, for every dataset
that the table has, in place of a retraining. A search that buys labels takes them from the table
and needs no supernet, so that both kinds stand in one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from nasrun.evaluators.supernet_scorer import SupernetScorer
from nasrun.evaluators.table import TableLookup
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.context import SearchContext
from nasrun.protocols.data import MetricName
from nasrun.protocols.predictor import Ranking
from nasrun.protocols.result import Final, OneShot
from nasrun.protocols.settings import CountOrNone, Pair, Place
from nasrun.training.quality import METRICS


class SupernetAndTable(TableLookup):
    """Supernets for strategies on alphas, and the table in which labels and results are looked up.

    Args:
        file: the table; `None` looks in `NASRUN_DATA`, then in the user's cache folder.
        num_compared: cells whose one-shot accuracy is compared with the table's when the search is
            over; 0 leaves it out.
        images_compared: of the validation half, behind a one-shot accuracy.

    Raises:
        UsageError: a setting is out of range, or there is no sound table of space and dataset.
    """

    needs_images: ClassVar[bool] = True
    makes_scorers: ClassVar[bool] = True
    metrics: ClassVar[tuple[MetricName, ...]] = tuple(METRICS)

    def __init__(
        self,
        context: SearchContext,
        *,
        file: Place | None,
        num_compared: CountOrNone,
        images_compared: Pair,
    ) -> None:
        super().__init__(context, file)
        self.num_compared = num_compared
        self.images_compared = images_compared
        self._context = context
        self._scorer: SupernetScorer | None = None

    def scorer(self, **settings: Any) -> SupernetScorer:
        """Make a new supernet; the settings are those of `SupernetScorer`."""
        self._scorer = SupernetScorer(self._context, **settings)
        return self._scorer

    def shared_weights(self) -> Mapping[str, Tensor]:
        last = self._scorer
        return {} if last is None or not last.is_whole else last.named_weights()

    def final(self, genotype: Genotype) -> Final:
        """Return what the table says of the result, and how well the supernet ranked cells."""
        result = super().final(genotype)
        if self._scorer is None or self.num_compared == 0 or not self._scorer.has_all:
            return result
        return replace(result, one_shot=self._one_shot(self._scorer))

    def _one_shot(self, scorer: SupernetScorer) -> OneShot:
        """Compare how the supernet and the table rank random cells.

        The cells are the same in every run. The figures are Kendall's tau of the cross-entropy, and
        of the accuracy, on shared weights under batch statistics, with the table's test accuracy.
        """
        rows = np.random.default_rng(0).permutation(self.table.num_rows)
        rows = rows[np.isfinite(self.columns.test_R[rows])][: self.num_compared]
        cells = [self.table.genotype(int(row)) for row in rows]
        scored = scorer.num_scorings
        scores = scorer.score_paths(cells, scorer.draw_batch(self.images_compared))
        scorer.num_scorings = scored  # they are no part of the search
        true_N = self.columns.test_R[rows]
        return OneShot(
            num_cells=len(rows),
            loss_tau=Ranking(-scores.loss_N, true_N).tau,
            accuracy_tau=Ranking(scores.accuracy_N, true_N).tau,
        )

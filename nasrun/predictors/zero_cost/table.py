"""Look up in a benchmark table how untrained networks score: free, as others have measured them.

Shapes: N architectures, F scores, R rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from nasrun.benchmarks import store
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.proxy import Proxy, Untrained


class ScoresOfTable(Proxy):
    """The columns of a table as `FreeScores`.

    Raises:
        UsageError: there is no such table of the space and dataset.
    """

    needs_images: ClassVar[bool] = False
    num_affordable = 1_000_000

    def __init__(self, untrained: Untrained) -> None:
        dataset = untrained.dataset_name
        self._table = store.load_scores(untrained.space.name, dataset)
        columns = self._table.scores[dataset]
        self.names = tuple(columns)
        self.how = f"{' and '.join(columns)} of {self._table.path.name}"
        self._score_RF = np.stack(list(columns.values()), axis=1)

    def values(self, genotypes: Sequence[Genotype]) -> np.ndarray:
        return self._score_RF[[self._table.row(genotype) for genotype in genotypes]]

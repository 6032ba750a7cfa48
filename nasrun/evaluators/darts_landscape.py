"""Evaluate DARTS cells by a surrogate: single cells by its value, mixtures on its landscape.

There is no table of the space that EG-NAS was made for. A surrogate of some hundred trained cells
(`darts_surrogates.py`) says what any cell of it is worth among random ones, and so compares
searches with each other and with what needs no search. Whatever it says is a statement about the
surrogate: no network of the cells that a search finds has been trained.

Shapes: N cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, ClassVar, get_args

import numpy as np
import torch

from nasrun.benchmarks import store
from nasrun.evaluators.darts_surrogates import (
    LEAST_CELLS,
    Family,
    Surrogate,
    TrainedCells,
    counts_of,
    fit,
    load,
)
from nasrun.evaluators.surrogate_landscape import SurrogateLandscape
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.published import named_cells
from nasrun.graphs.kernel_regression import normal_quantiles
from nasrun.protocols.context import SearchContext
from nasrun.protocols.evaluation import Evaluation, Evaluator, Objective
from nasrun.protocols.result import Final, OneShot, SurrogateEntry, SurrogateValue
from nasrun.protocols.settings import (
    NotNegative,
    Place,
    Positive,
    PositiveShare,
    Probability,
)
from nasrun.protocols.space import DifferentiableSpace

CONVOLUTION = "sep_conv_3x3"
NUM_RANDOM = 1000  # cells among which a value has its percentile, the same in every run


class DartsLandscape(Evaluator):
    """A surrogate as the evaluator, both of single cells and of mixtures.

    A label is the share of the trained cells that the surrogate places above a cell.

    Args:
        file: the trained cells; `None` looks for darts_cells.npz in `NASRUN_DATA`, then in the
            user's cache folder. It holds `dartsbench_cells` (n, cell, edge, (operation, state)) of
            whole numbers, `op_names`, and `dartsbench_test_50`, n accuracies.
        family: of the surrogate.
        share: of the trained cells, drawn without replacement by the run's seed, that the surrogate
            is fitted to, so that the spread of runs includes that of surrogates; 1 takes all.
        rank_noise, accuracy_spread, loss_noise, accuracy_noise, independent_share: see
            `SurrogateLandscape`.

    Raises:
        UsageError: no file, or one that is not sound.
    """

    needs_images: ClassVar[bool] = False
    makes_scorers: ClassVar[bool] = True
    spaces: ClassVar[tuple[str, ...]] = ("darts",)
    objectives = (Objective("surrogate_rank", "share of trained cells above"),)

    def __init__(
        self,
        context: SearchContext,
        *,
        file: Place | None,
        family: Family,
        share: PositiveShare,
        rank_noise: NotNegative,
        accuracy_spread: Positive,
        loss_noise: NotNegative,
        accuracy_noise: NotNegative,
        independent_share: Probability,
    ) -> None:
        self.space: DifferentiableSpace = context.space
        self.cells, self.family = load(file), family
        draw = context.streams.derived("surrogate").numpy("cells")
        self._sample = (share, int(draw.integers(2**32)) if share < 1 else 0)
        self._landscape: SurrogateLandscape | None = None
        self._make_landscape = partial(
            SurrogateLandscape,
            self.space,
            streams=context.streams,
            rank_noise=rank_noise,
            accuracy_spread=accuracy_spread,
            loss_noise=loss_noise,
            accuracy_noise=accuracy_noise,
            independent_share=independent_share,
        )

    def evaluate(self, genotypes: Sequence[Genotype]) -> list[Evaluation]:
        """Return what the surrogate says of each cell; it costs nothing.

        Raises:
            UsageError: an architecture lies outside the space.
        """
        from scipy.special import ndtr

        for genotype in genotypes:
            self.space.validate(genotype)
        below_N = ndtr(self.values(genotypes))  # a normal score is the quantile of this share
        pairs = zip(genotypes, below_N.tolist(), strict=True)
        return [Evaluation(genotype, (1.0 - below,), 0.0) for genotype, below in pairs]

    def values(self, genotypes: Sequence[Genotype], family: Family | None = None) -> np.ndarray:
        """Return the normal scores of cells by a family, float64; by default that of the run."""
        surrogate = fitted(self.cells, family or self.family, *self._sample)
        return cell_values(surrogate, genotypes)

    def scorer(self, **_: Any) -> SurrogateLandscape:
        """Make the landscape; settings of a supernet and of its training mean nothing to it."""
        surrogate = fitted(self.cells, self.family, *self._sample)
        self._landscape = self._make_landscape(surrogate)
        return self._landscape

    def final(self, genotype: Genotype) -> Final:
        """Return what the surrogates say of the result, and of what needs no search."""
        control = self.control()
        random_N = self.values(random_cells(self.space))
        own, known = self.values([genotype, control]), named_cells(self.space.name)
        above = {
            family: float(np.subtract(*self.values([genotype, control], family)))
            for family in get_args(Family)
        }
        described = partial(_described, random_N=random_N)
        entry = SurrogateEntry(
            **described("result", own[0]),
            file=str(self.cells.path),
            family=self.family,
            control=SurrogateValue(**described(f"{CONVOLUTION} on all edges", own[1])),
            random=float(random_N.mean()),
            above_control=above,
            references=tuple(
                SurrogateValue(**described(name, value))
                for name, value in zip(known, self.values(list(known.values())), strict=True)
            ),
        )
        if self._landscape is None:
            return Final(surrogate=entry)
        return Final(surrogate=entry, one_shot=OneShot(accuracy_tau=self._landscape.tau()))

    def control(self) -> Genotype:
        """Return the cell that is derived where all edges prefer one convolution alike."""
        column = self.space.operations.index(CONVOLUTION)
        weights = {name: torch.zeros(shape) for name, shape in self.space.alpha_shapes.items()}
        for weights_EO in weights.values():
            weights_EO[:, column] = 1.0
        return self.space.discretise(weights)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file of trained cells."""
        return store.fingerprint(self.cells.path)


@lru_cache(maxsize=16)  # of the runs of a sweep in this process
def fitted(cells: TrainedCells, family: Family, share: float, seed: int) -> Surrogate:
    """Fit a surrogate to a share of the cells, at least `LEAST_CELLS`."""
    count = max(LEAST_CELLS, round(share * len(cells.accuracy_N)))
    rows_N = np.sort(np.random.default_rng(seed).permutation(len(cells.accuracy_N))[:count])
    targets_N = normal_quantiles(cells.accuracy_N)[rows_N]
    return fit(family, cells.counts_NCEO[rows_N], targets_N, seed)


def cell_values(surrogate: Surrogate, genotypes: Sequence[Genotype]) -> np.ndarray:
    """Return the normal scores of cells, float64."""
    counts_NCEO = np.stack([counts_of(genotype) for genotype in genotypes])
    return surrogate.values(torch.from_numpy(counts_NCEO)).numpy()


def random_cells(space: DifferentiableSpace) -> list[Genotype]:
    """Draw cells of the space, the same ones in every run."""
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(NUM_RANDOM)]


def _described(name: str, value: float, random_N: np.ndarray) -> dict[str, Any]:
    """Return the fields of a `SurrogateValue`."""
    percentile = 100.0 * float((random_N <= value).mean())
    return {"name": name, "value": float(value), "percentile": percentile}

"""Fit surrogates of trained DARTS cells: what a cell is worth, by counts of what is in it.

What was trained is a file of random cells; a target is the normal score of a cell's accuracy among
them (0 is their median, 1 beats 84 % of them), since the accuracies have a long lower tail. A
surrogate's value is therefore a rank among random cells, and no accuracy of a network.

Features of a cell type, all of them sums over the edges or routes of a cell: how often each
operation reads from the first input, the second, and a node; and, for each input and each sequence
of up to four kinds (pool, skip, convolution), how many routes from the input pass through it, to
whatever node, as all nodes are part of the output.

A sum is defined for shares of edges, too. An edge that is kept with probability q and then carries
operation o with probability w counts q * w, and a route the product over its edges. A route has one
edge into each of its nodes, and nodes are filled independently of each other: so the features of
shares are the expectation of those of the cells, exactly.

Families, and what they make of the shares of a mixture:
- `ridge` is linear in the features: its value is the expectation of that of the cells, exactly, as
  on a benchmark table (`landscape.py`).
- `gaussian_process` and `extra_trees` (Geurts, Ernst, Wehenkel, Machine Learning 63, 2006) are
  taken at the expected features. That is not the expectation of their values, which would be one
  over 10^18 cells, and need be drawn anew for each candidate; it costs one prediction, has no
  noise, equals the value of a cell at the cell, and lies among the cells that were trained, since
  each node keeps two edges. Of the trees it is a fine staircase, without a gradient.

Shapes: N cells, C = 2 cell types, E = 14 edges, O = 7 operations (without `none`), F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nasrun.benchmarks import store
from nasrun.errors import UsageError
from nasrun.genotypes.darts import CELLS, EDGES, KNOWN_OPERATIONS, NODES
from nasrun.genotypes.genotype import Genotype
from nasrun.graphs.kernel_regression import likeliest, normal_quantiles
from nasrun.protocols.ranks import kendall_tau
from nasrun.storage.cache_folder import table_places

Family = Literal["extra_trees", "ridge", "gaussian_process"]
OPERATIONS = tuple(name for name in KNOWN_OPERATIONS if name != "none")
KINDS = tuple(  # of each operation: pool, skip, convolution
    0 if "pool" in name else 1 if name == "skip_connect" else 2 for name in OPERATIONS
)
NUM_KINDS = 3

RIDGE_PENALTY = 10.0
NUM_TREES, LEAF, SHARE_OF_FEATURES = 150, 2, 0.5
LENGTH_SCALES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)  # in typical distances between trained cells
NOISES = (0.2, 0.3, 0.4, 0.5, 0.7)  # deviations of a normal score


@dataclass(frozen=True, eq=False)  # so that it can be looked up in a cache
class TrainedCells:
    """Cells whose networks were trained, as counts_NCEO, float64, and their accuracy_N."""

    path: Path
    counts_NCEO: np.ndarray
    accuracy_N: np.ndarray  # test accuracy after 50 epochs on CIFAR-10, percent


@dataclass(frozen=True)
class Surrogate:
    """A family, fitted: `predict` takes features_NF to values_N, both float64."""

    family: Family
    predict: Callable[[Tensor], Tensor]

    @property
    def has_gradient(self) -> bool:
        return self.family != "extra_trees"

    def values(self, counts_NCEO: Tensor) -> Tensor:
        """Return what cells, or shares of edges, are worth: normal scores, float64."""
        return self.predict(features(counts_NCEO))


# ---------------------------------------------------------------------------- cells


def counts_of(genotype: Genotype) -> np.ndarray:
    """Count the operations on each edge of a genotype; an edge with `none` is not there."""
    counts_CEO = np.zeros((len(CELLS), len(EDGES), len(OPERATIONS)))
    for c, name in enumerate(CELLS):
        for edge in genotype.cell(name).edges:
            if edge.target in NODES and edge.operation != "none":
                row = EDGES.index((edge.source, edge.target))
                counts_CEO[c, row, OPERATIONS.index(edge.operation)] += 1
    return counts_CEO


def load(file: str | None) -> TrainedCells:
    """Read trained cells: `file`, or `None` for darts_cells.npz where tables are kept.

    Raises:
        UsageError: the file is not there, or does not hold what it should.
    """
    places = table_places("darts_cells") if file is None else [Path(file).expanduser()]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        looked = " and ".join(map(str, places))
        raise UsageError(
            f"evaluator=darts_landscape needs a file of trained DARTS cells, and there is none "
            f"(looked for {looked}): say where it is with evaluator.file=FILE"
        )
    status = path.stat()
    return _load(path, status.st_mtime_ns, status.st_size)


@cache  # the runs of a sweep share them; a file that has changed is another one
def _load(path: Path, _modified_ns: int, _size: int) -> TrainedCells:
    arrays = store.read_arrays(path)
    missing = [name for name in ("op_names", CELLS_KEY, ACCURACY_KEY) if name not in arrays]
    if missing:
        raise UsageError(f"{path} is no file of trained DARTS cells: it lacks {', '.join(missing)}")
    cells_NC82, accuracy_N = arrays[CELLS_KEY], arrays[ACCURACY_KEY]
    names = [str(name) for name in arrays["op_names"].ravel()]
    problem = _problem(cells_NC82, accuracy_N, names)
    if problem:
        raise UsageError(f"{path} is no file of trained DARTS cells: {problem}")
    counts_NCEO = np.zeros((len(cells_NC82), len(CELLS), len(EDGES), len(OPERATIONS)))
    for n, c, place in np.ndindex(cells_NC82.shape[:3]):
        operation, source = (int(number) for number in cells_NC82[n, c, place])
        if names[operation] != "none":  # two edges of a node may read the same state
            row = EDGES.index((source, NODES[place // 2]))
            counts_NCEO[n, c, row, OPERATIONS.index(names[operation])] += 1
    return TrainedCells(path, counts_NCEO, accuracy_N.astype(np.float64))


CELLS_KEY, ACCURACY_KEY = "dartsbench_cells", "dartsbench_test_50"
LEAST_CELLS = 10


def _problem(cells_NC82: np.ndarray, accuracy_N: np.ndarray, names: list[str]) -> str:
    """Say what is wrong with the arrays; empty for nothing."""
    shape = (len(accuracy_N) if accuracy_N.ndim else 0, len(CELLS), 2 * len(NODES), 2)
    if cells_NC82.shape != shape or cells_NC82.dtype.kind not in "iu" or shape[0] < LEAST_CELLS:
        return (
            f"{CELLS_KEY} must be whole numbers (n, 2, 8, 2), n at least {LEAST_CELLS}, not "
            f"{cells_NC82.dtype} {cells_NC82.shape}, with n numbers in {ACCURACY_KEY}"
        )
    if accuracy_N.dtype.kind not in "fiu" or not np.isfinite(accuracy_N).all():
        return f"{ACCURACY_KEY} must be finite numbers"
    unknown = sorted(set(names) - set(KNOWN_OPERATIONS))
    if unknown:
        return f"op_names has {', '.join(unknown)}"
    below_8 = np.repeat(NODES, 2)  # the node of a place, above whose number there is no source
    operations, sources = cells_NC82[..., 0], cells_NC82[..., 1]
    if operations.min() < 0 or operations.max() >= len(names) or sources.min() < 0:
        return f"{CELLS_KEY} has operations or sources that do not exist"
    return "" if (sources < below_8).all() else f"{CELLS_KEY} has edges from later nodes"


# ---------------------------------------------------------------------------- features


def features(counts_NCEO: Tensor) -> Tensor:
    """Return features_NF, float64; see the module's docstring."""
    # the states that operations read, in three groups: each input, and the nodes
    groups = ((0,), (1,), NODES)
    in_group_GE = [[float(source in group) for source, _ in EDGES] for group in groups]
    reads_NGCO = torch.einsum("nceo,ge->ngco", counts_NCEO, counts_NCEO.new_tensor(in_group_GE))
    parts = (reads_NGCO, *routes(counts_NCEO))
    return torch.cat([part.reshape(len(counts_NCEO), -1) for part in parts], dim=1)


def routes(counts_NCEO: Tensor) -> list[Tensor]:
    """Count routes by their kinds: a tensor for each length L from 1 to 4, (N, C, 2 * 3^L).

    A route begins at the first or at the second input and ends at any node.
    """
    of_kind_OK = torch.nn.functional.one_hot(torch.tensor(KINDS), NUM_KINDS).to(counts_NCEO)
    kinds_NCEK = counts_NCEO @ of_kind_OK
    # state -> length -> routes to it from each input I, with P = 3^length, the last kind fastest
    inputs_IIP = torch.eye(2, dtype=counts_NCEO.dtype)[:, :, None]
    to: dict[int, dict[int, Tensor]] = {
        state: {0: inputs_IIP[state].expand(*counts_NCEO.shape[:2], 2, 1)} for state in (0, 1)
    }
    for node in NODES:
        to[node] = {}
        for length in range(node - 1):  # of the routes to its sources S
            sources = [source for source in range(node) if length in to[source]]
            first = EDGES.index((sources[0], node))
            edges = slice(first, first + len(sources))  # sources are without gaps, as are rows
            before_NCSIP = torch.stack([to[source][length] for source in sources], dim=2)
            longer = torch.einsum("ncsip,ncsk->ncipk", before_NCSIP, kinds_NCEK[:, :, edges])
            to[node][length + 1] = longer.flatten(-2)
    lengths = range(1, len(NODES) + 1)
    ending = [[to[node][length] for node in NODES if length in to[node]] for length in lengths]
    return [torch.stack(found).sum(dim=0).flatten(-2) for found in ending]


# ---------------------------------------------------------------------------- families


def fit(family: Family, counts_NCEO: np.ndarray, target_N: np.ndarray, seed: int = 0) -> Surrogate:
    """Fit a surrogate to cells and their targets.

    Args:
        seed: of the trees; the others draw nothing.
    """
    features_NF = features(torch.from_numpy(counts_NCEO)).numpy()
    predict: dict[Family, Callable[[], Callable[[Tensor], Tensor]]] = {
        "extra_trees": lambda: _extra_trees(features_NF, target_N, seed),
        "ridge": lambda: _ridge(features_NF, target_N),
        "gaussian_process": lambda: _gaussian_process(features_NF, target_N),
    }
    return Surrogate(family, predict[family]())


def _extra_trees(features_NF: np.ndarray, target_N: np.ndarray, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    trees = ExtraTreesRegressor(
        NUM_TREES, min_samples_leaf=LEAF, max_features=SHARE_OF_FEATURES, random_state=seed
    ).fit(features_NF, target_N)
    return lambda features_NF: torch.from_numpy(trees.predict(features_NF.numpy()))


def _ridge(features_NF: np.ndarray, target_N: np.ndarray) -> Any:
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=RIDGE_PENALTY).fit(features_NF, target_N)
    weights_F, intercept = torch.from_numpy(fitted.coef_), float(fitted.intercept_)
    return lambda features_NF: features_NF @ weights_F + intercept


def _gaussian_process(features_NF: np.ndarray, target_N: np.ndarray) -> Any:
    """Fit the process of highest marginal likelihood, as `predictor=gaussian_process` does."""
    mean = float(target_N.mean())
    process, unit = likeliest(features_NF, target_N - mean, LENGTH_SCALES, NOISES)
    known_NF, weights_N = torch.from_numpy(features_NF), torch.from_numpy(process.weights_N)
    scale = -0.5 / (unit * process.length_scale**2)
    squares_N = known_NF.square().sum(dim=1)

    def predict(features_CF: Tensor) -> Tensor:
        cross_CN = features_CF @ known_NF.T
        distances_CN = features_CF.square().sum(dim=1)[:, None] + squares_N - 2 * cross_CN
        return torch.exp(scale * distances_CN) @ weights_N + mean

    return predict


def cross_validated(family: Family, cells: TrainedCells, folds: int, seed: int) -> list[float]:
    """Return Kendall's tau of the values with the true accuracies on each fold left out."""
    from sklearn.model_selection import KFold

    found = list[float]()
    split = KFold(folds, shuffle=True, random_state=seed).split(cells.accuracy_N)
    for known, left_out in split:
        targets = normal_quantiles(cells.accuracy_N[known])
        surrogate = fit(family, cells.counts_NCEO[known], targets, seed)
        values_N = surrogate.values(torch.from_numpy(cells.counts_NCEO[left_out])).numpy()
        found.append(kendall_tau(values_N, cells.accuracy_N[left_out]))
    return found

"""The landscape of a surrogate: mixtures by hand, by enumeration, at cells, and its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from nasrun.cli.main import main
from nasrun.errors import UsageError
from nasrun.evaluators import darts_surrogates
from nasrun.evaluators.darts_landscape import DartsLandscape
from nasrun.evaluators.darts_surrogates import OPERATIONS, Family, Surrogate, counts_of, features
from nasrun.evaluators.surrogate_landscape import SurrogateLandscape
from nasrun.genotypes.darts import CELLS, EDGES, KNOWN_OPERATIONS
from nasrun.genotypes.published import published_cells
from nasrun.protocols.space import Mixture
from nasrun.randomness import RandomStreams
from nasrun.report.collect import Run, read
from nasrun.report.metrics import choose, signal
from nasrun.runs.result_file import read_result
from nasrun.spaces.darts import Darts
from tests.compose import node

FAMILIES = get_args(Family)
SETTINGS = {k: v for k, v in node("evaluator", "darts_landscape").items() if not k.startswith("_")}


def darts(*operations: str) -> Darts:
    settings = {k: v for k, v in node("space", "darts").items() if not k.startswith("_")}
    return Darts(**settings | ({"operations": list(operations)} if operations else {}))


SPACE = darts()
SMALL = darts("max_pool_3x3", "skip_connect", "sep_conv_3x3")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty random cells whose accuracy grows with their convolutions; two edges have `none`."""
    rng = np.random.default_rng(0)
    operations = rng.integers(0, 8, (60, 2, 8))
    sources = np.stack([rng.integers(0, 2 + place // 2, (60, 2)) for place in range(8)], axis=2)
    accuracy = 80 + (operations >= 4).sum(axis=(1, 2)) + rng.random(60)
    path = tmp_path_factory.mktemp("cells") / "cells.npz"
    np.savez(
        path,
        dartsbench_cells=np.stack([operations, sources], axis=3).astype(np.int8),
        op_names=np.array(KNOWN_OPERATIONS),
        dartsbench_test_50=accuracy,
    )
    return path


def evaluator(file: Path | str, space: Darts = SPACE, seed: int = 0, **changes: Any) -> Any:
    context: Any = SimpleNamespace(space=space, streams=RandomStreams(seed))
    return DartsLandscape(context, **SETTINGS | {"file": str(file)} | changes)


def linear(seed: int = 0, times: Callable[[torch.Tensor], torch.Tensor] = lambda x: x) -> Surrogate:
    """A tiny surrogate: random weights on the features."""
    num_features = features(torch.zeros(1, 2, 14, 7, dtype=torch.float64)).shape[1]
    weights_F = torch.from_numpy(np.random.default_rng(seed).standard_normal(num_features))
    return Surrogate("ridge", lambda features_NF: times(features_NF @ weights_F))


def landscape(surrogate: Surrogate, space: Darts = SPACE, **changes: float) -> SurrogateLandscape:
    known = {k: v for k, v in SETTINGS.items() if k not in ("file", "family", "share")}
    return SurrogateLandscape(space, surrogate, RandomStreams(0), **known | changes)


def mixture(space: Darts, seed: int = 0) -> Mixture:
    rng = torch.Generator().manual_seed(seed)
    shapes = space.alpha_shapes.items()
    return Mixture({n: (2 * torch.randn(s, generator=rng)).softmax(1) for n, s in shapes})


def row(source: int, target: int) -> int:
    return EDGES.index((source, target))


# ---------------------------------------------------------------------------- features


def test_features_of_a_cell_by_hand() -> None:
    """Node 2 reads both inputs by pools, node 3 the first by a skip and node 2 by a convolution."""
    counts = torch.zeros(1, 2, 14, 7, dtype=torch.float64)
    pool, skip, conv = (OPERATIONS.index(f"{name}") for name in
                        ("max_pool_3x3", "skip_connect", "sep_conv_5x5"))  # fmt: skip
    for source, target, operation in ((0, 2, pool), (1, 2, pool), (0, 3, skip), (2, 3, conv)):
        counts[0, 0, row(source, target), operation] = 1
    found = features(counts)[0]
    reads, routes = found[: 3 * 14].reshape(3, 2, 7), found[3 * 14 :]
    expected = torch.zeros(3, 2, 7)
    expected[0, 0, pool] = expected[1, 0, pool] = 1  # from each input
    expected[0, 0, skip] = expected[2, 0, conv] = 1  # from the first input, and from a node
    assert (reads == expected).all()
    of_one, of_two = routes[: 2 * 2 * 3].reshape(2, 2, 3), routes[12 : 12 + 36].reshape(2, 2, 3, 3)
    assert of_one[0].tolist() == [[1, 1, 0], [1, 0, 0]]  # pool and skip; pool
    assert of_two[0, :, 0, 2].tolist() == [1, 1]  # a pool, then a convolution, from either input
    assert float(of_two.sum()) == 2
    assert float(routes[48:].sum()) == 0  # nothing is longer


def test_published_cells_have_eight_operations_of_each_type() -> None:
    counts_CEO = counts_of(published_cells()["darts_v2"].genotype)
    assert counts_CEO.sum(axis=(1, 2)).tolist() == [8, 8]


# ---------------------------------------------------------------------------- mixtures


def test_shares_of_a_mixture_by_hand() -> None:
    """Node 3 has three edges of the masses 1, 1 and 2, and the operations (a, b) on each."""
    place = landscape(linear(), SMALL, rank_noise=0.0)
    weights_EO = torch.zeros(28, 3, dtype=torch.float64)
    for source, weights in enumerate(([0.25, 0.75], [1.0, 0.0], [2.0, 0.0])):
        weights_EO[row(source, 3), :2] = torch.tensor(weights, dtype=torch.float64)
    kept_EO = place.kept(weights_EO[None])[0, 0]
    # Pairs by the products of masses: 1 + 2 + 2 = 5; the edges are in 1 + 2, 1 + 2, 2 + 2 of them.
    pool, skip = OPERATIONS.index("max_pool_3x3"), OPERATIONS.index("skip_connect")
    found = [kept_EO[row(source, 3), [pool, skip]].tolist() for source in range(3)]
    assert found[0] == pytest.approx([0.25 * 3 / 5, 0.75 * 3 / 5])
    assert found[1] == pytest.approx([3 / 5, 0])
    assert found[2] == pytest.approx([4 / 5, 0])
    assert float(kept_EO.sum()) == pytest.approx(2)  # nodes without edges have none


def test_a_mixture_is_worth_what_its_cells_are_on_average() -> None:
    """All cells of two operations, by enumeration; for a linear surrogate, with the error."""
    space = darts("skip_connect", "sep_conv_3x3")
    place = landscape(linear(), space)
    weights_EO = place.weights(mixture(space, 3))
    weights_EO /= weights_EO.sum(dim=1, keepdim=True)  # a softmax in float32 adds up to nearly 1
    weights_EO[14:] = 0  # one type of cell is enough
    one_node = [
        [row(0, 2), row(1, 2)],
        [row(s, 3) for s in range(3)],
        [row(s, 4) for s in range(4)],
    ]
    weights_EO[[row(s, 5) for s in range(5)]] = 0
    ways = [list(ways_to_fill(edges, weights_EO)) for edges in one_node]
    total, expected = 0.0, 0.0
    cells, shares = list[torch.Tensor](), list[float]()
    for filled in itertools.product(*ways):
        cell_EO = torch.zeros_like(weights_EO)
        for _, chosen in filled:
            for edge, operation in chosen:
                cell_EO[edge, operation] = 1
        cells.append(cell_EO)
        shares.append(float(np.prod([share for share, _ in filled])))
    values = place.extension(torch.stack(cells))
    total, expected = sum(shares), float(values @ torch.tensor(shares, dtype=torch.float64))
    assert len(cells) == 4 * 12 * 24
    assert total == pytest.approx(1)
    assert float(place.extension(weights_EO[None])[0]) == pytest.approx(expected, rel=1e-10)


def ways_to_fill(edges: list[int], weights_EO: torch.Tensor) -> Any:
    """Each pair of edges and of operations, and its probability where all edges have the mass 1."""
    pairs = list(itertools.combinations(edges, 2))
    for first, second in pairs:
        for a, b in itertools.product(range(2), repeat=2):
            share = float(weights_EO[first, a] * weights_EO[second, b]) / len(pairs)
            yield share, ((first, a), (second, b))


@pytest.mark.parametrize("family", FAMILIES)
def test_at_a_cell_the_landscape_has_its_value(file: Path, family: Family) -> None:
    """Whatever the family, with an error of its own; the scale is that of the accuracy."""
    known = evaluator(file, family=family, rank_noise=0.0)
    place = known.scorer()
    rng = np.random.default_rng(5)
    cells = [SPACE.sample(rng) for _ in range(4)]
    mixtures = [Mixture(SPACE.one_hot(cell)) for cell in cells]
    weights_NEO = torch.stack([place.weights(one) for one in mixtures])
    assert place.extension(weights_NEO).numpy() == pytest.approx(known.values(cells), rel=1e-9)
    single = torch.stack([place.weights(Mixture.single(SPACE, cell)) for cell in cells])
    assert (single == weights_NEO).all()  # with gates, too
    with_error = evaluator(file, family=family).scorer()
    gap = with_error.extension(weights_NEO).numpy() - known.values(cells)
    assert (np.abs(gap) > 1e-6).all()


def test_the_derived_cell_of_sharp_alphas_is_near() -> None:
    """Edges whose weights all but vanish leave the cell."""
    place = landscape(linear())
    cell = SPACE.sample(np.random.default_rng(1))
    hot = place.weights(Mixture(SPACE.one_hot(cell)))
    assert float((place.extension((hot + 1e-9)[None]) - place.extension(hot[None])).abs()) < 1e-5


def test_accuracies_have_their_scale_and_the_error_its_size() -> None:
    place = landscape(linear(times=lambda x: 0.01 * x), rank_noise=1.3, accuracy_spread=0.04)
    z = RandomStreams(0).derived("landscape").numpy("alphas").standard_normal((2000, 28, 7))
    weights_NEO = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    assert place.accuracy(weights_NEO).std() == pytest.approx(0.04)
    assert place.accuracy(np.full((1, 28, 7), 1 / 7)) == pytest.approx(0.45)
    true_N, error_N = place.of_random_cells()
    assert error_N.std() == pytest.approx(1.3 * true_N.std())
    cells = place.random_cells[:20]
    hot_NEO = torch.stack([place.weights(Mixture(SPACE.one_hot(cell))) for cell in cells])
    assert place.extension(hot_NEO).numpy() == pytest.approx((true_N + error_N)[:20])
    assert 0.3 < (place.tau() or 0) < 0.55
    assert landscape(linear(), rank_noise=0.0).tau() == pytest.approx(1.0)


# ---------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("family", ["ridge", "gaussian_process"])
def test_gradient_against_finite_differences(file: Path, family: Family) -> None:
    """With gates, which are masses here; the noise of the batch has a slope as well."""
    place = evaluator(file, family=family).scorer()
    batch, plain = place.draw_batch(64), mixture(SPACE, 2)
    gates = {name: torch.linspace(0.4, 1.0, 14) for name in CELLS}
    gradient = place.gradient(Mixture(plain.weights, gates), batch)
    assert gradient.of_gates is not None

    def loss(weights: dict[str, torch.Tensor], gates: dict[str, torch.Tensor]) -> float:
        here = place.weights(Mixture(weights, gates))
        accuracy = place.accuracy(here.numpy()[None])[0]
        noise = ((here.numpy() - 1 / 7) * batch.slope_EO).sum()
        return float(1.4 - 3 * (accuracy - 0.45) + noise)

    weights = {name: one.double() for name, one in plain.weights.items()}
    double = {name: one.double() for name, one in gates.items()}
    assert gradient.loss == pytest.approx(loss(weights, double), rel=1e-6)
    for name, edge, operation in (("normal", 0, 3), ("normal", 12, 6), ("reduce", 7, 0)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = {key: one.clone() for key, one in weights.items()}
            moved[name][edge, operation] += step
            ends.append(loss(moved, double))
        slope = float(gradient.of_weights[name][edge, operation])
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-6)
        ends = []
        for step in (1e-5, -1e-5):
            moved = {key: one.clone() for key, one in double.items()}
            moved[name][edge] += step
            ends.append(loss(weights, moved))
        slope = float(gradient.of_gates[name][edge])
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-6)


def test_nothing_at_a_node_is_worth_no_edges_and_has_finite_slopes() -> None:
    place = landscape(linear())
    nothing = Mixture({name: torch.zeros(14, 7) for name in CELLS})
    assert float(place.extension(place.weights(nothing)[None])[0]) == 0
    slopes = place.gradient(nothing, place.draw_batch(64)).of_weights
    assert all(torch.isfinite(one).all() for one in slopes.values())


def test_trees_have_no_gradient(file: Path) -> None:
    place = evaluator(file, family="extra_trees").scorer()
    with pytest.raises(UsageError, match=r"^evaluator.family=extra_trees is a staircase .*=ridge"):
        place.gradient(mixture(SPACE), place.draw_batch(64))


# ---------------------------------------------------------------------------- runs


def run(folder: Path, file: Path, *words: str) -> Any:
    given = ["evaluator=darts_landscape", f"evaluator.file={file}", "budget=smoke"]
    main(["search", *given, *words, f"hydra.run.dir={folder}"])
    return read_result(folder)


def test_same_seed_same_result_and_what_it_says(file: Path, tmp_path: Path, capsys: Any) -> None:
    first, second = (run(tmp_path / name, file, "strategy=egnas") for name in ("a", "b"))
    assert first.genotype == second.genotype
    assert first.surrogate == second.surrogate
    assert first.one_shot == second.one_shot
    entry, known = first.surrogate, evaluator(file)
    values = known.values([first.genotype, known.control()])
    assert entry.value == pytest.approx(values[0])
    assert entry.control.value == pytest.approx(values[1])
    assert entry.above_control["ridge"] == pytest.approx(values[0] - values[1])
    assert set(entry.above_control) == set(FAMILIES)
    assert len(entry.references) == 15
    assert first.table is None
    assert first.test_accuracy is None  # nothing was trained
    kept = read(tmp_path / "a")
    assert isinstance(kept, Run)
    metric = choose(None, [kept])  # what a report judges by
    assert metric.key == "above_all_conv"
    assert metric.of(kept) == pytest.approx(values[0] - values[1])
    assert signal(kept) == "accuracy on a surrogate's landscape"
    text = capsys.readouterr().out
    assert "no accuracy of a trained network" in text
    assert "candidates scored on the landscape of a surrogate" in text


def test_single_cells_are_labelled_by_the_same_surrogate(file: Path, tmp_path: Path) -> None:
    found = run(tmp_path / "run", file, "strategy=random", "budget.evaluations=12",
                "evaluator.family=gaussian_process")  # fmt: skip
    known = evaluator(file, family="gaussian_process")
    (label,) = known.evaluate([found.genotype])
    assert found.search_val_accuracy == pytest.approx(1 - label.values[0])
    assert found.surrogate.value == pytest.approx(known.values([found.genotype])[0])
    assert 0 < label.values[0] < 1


def test_the_control_is_a_convolution_on_all_edges_of_the_inputs(file: Path) -> None:
    edges = evaluator(file).control().cell("normal").edges
    read = {edge.source for edge in edges if edge.operation == "sep_conv_3x3"}
    assert read == {0, 1}


def test_surrogates_of_a_share_differ_by_the_seed_and_by_nothing_else(file: Path) -> None:
    cells = [SPACE.sample(np.random.default_rng(1))]
    values = [float(evaluator(file, seed=seed).values(cells)[0]) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    whole = [float(evaluator(file, seed=seed, share=1.0).values(cells)[0]) for seed in (0, 1)]
    assert whole[0] == whole[1]


# ---------------------------------------------------------------------------- mistakes


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("NASRUN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["search", "evaluator=darts_landscape", f"hydra.run.dir={tmp_path / 'run'}"])
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    first, second = tmp_path / "darts_cells.npz", tmp_path / "nasrun/tables/darts_cells.npz"
    assert said == (
        "nasrun: evaluator=darts_landscape needs a file of trained DARTS cells, and there is none "
        f"(looked for {first} and {second}): say where it is with evaluator.file=FILE"
    )
    with pytest.raises(UsageError, match="looked for gone"):
        darts_surrogates.load("gone")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"op_names": None}, "it lacks op_names"),
        ({"op_names": np.array(["conv"] * 8)}, "op_names has conv"),
        ({"dartsbench_test_50": np.full(60, np.nan)}, "dartsbench_test_50 must be finite numbers"),
        ({"dartsbench_test_50": np.ones(59)}, "dartsbench_cells must be whole numbers"),
        (
            {"dartsbench_cells": np.full((60, 2, 8, 2), 9)},
            "operations or sources that do not exist",
        ),
        ({"dartsbench_cells": np.full((60, 2, 8, 2), 5)}, "has edges from later nodes"),
    ],
)
def test_what_is_no_file_of_cells_is_said(
    file: Path, tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    arrays = {**np.load(file)} | changed
    path = tmp_path / "broken.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UsageError, match=f"is no file of trained DARTS cells: .*{sentence}"):
        darts_surrogates.load(str(path))


# ---------------------------------------------------------------------------- the real cells


def test_surrogates_rank_the_real_cells() -> None:
    """As docs/results/egnas.md says, for one seed of the folds."""
    import os

    path = Path(os.environ.get("NASRUN_DATA", "")) / "darts_cells.npz"
    if not path.is_file():
        pytest.skip("needs NASRUN_DATA with darts_cells.npz")
    taus = darts_surrogates.cross_validated("ridge", darts_surrogates.load(str(path)), 5, 0)
    assert 0.7 < np.mean(taus) < 0.8

"""The landscape of a table, against slow sums and on a made table whose rows are in any order."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasrun.benchmarks import store
from nasrun.cli.main import main
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.summary import summary
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.landscape import Landscape, only_cell
from nasrun.evaluators.table import TableEvaluator
from nasrun.protocols.space import Mixture
from nasrun.randomness import RandomStreams
from nasrun.runs.result_file import read_result
from nasrun.spaces.darts import Darts
from nasrun.spaces.nasbench201 import NasBench201
from tests.compose import composed, node

SPACE = NasBench201(channels=4, cells=1, partial_channels=1)
SETTINGS = {k: v for k, v in node("evaluator", "table").items() if not k.startswith("_")}
UNIFORM = np.full((6, 5), 0.2)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """All cells in an order of their own, with operations in another order than the space's."""
    rng = np.random.default_rng(0)
    ops_RE = rng.permutation(np.array(list(itertools.product(range(5), repeat=6)), dtype=np.uint8))
    names = np.array(["avg_pool_3x3", "none", "nor_conv_3x3", "skip_connect", "nor_conv_1x1"])
    accuracies = {
        f"cifar10_{part}_200": rng.uniform(55, 95, len(ops_RE)) for part in ("val", "test")
    }
    path = tmp_path_factory.mktemp("tables") / "nasbench201.npz"
    np.savez(path, ops=ops_RE, op_names=names, **accuracies)
    return path


@pytest.fixture(scope="module")
def make(file):
    def landscape(seed: int = 0, **changes: float) -> Landscape:
        context = SimpleNamespace(
            space=SPACE, dataset_name="cifar10", streams=RandomStreams(seed), progress=None
        )
        settings = SETTINGS | {"file": str(file)} | changes
        return TableEvaluator(context, **settings).scorer(num_epochs=3)

    return landscape


def softmax(z_NEO: np.ndarray) -> np.ndarray:
    return np.exp(z_NEO) / np.exp(z_NEO).sum(axis=-1, keepdims=True)


def mixtures(weights_NEO: np.ndarray) -> list[Mixture]:
    return [Mixture({"cell": torch.from_numpy(weights_EO)}) for weights_EO in weights_NEO]


# ---------------------------------------------------------------------------- the surface


def test_extension_is_the_sum_over_all_cells(make) -> None:
    landscape = make()
    weights_NEO = softmax(np.random.default_rng(1).standard_normal((3, 6, 5)))
    expected_N = np.zeros(3)
    for cell in itertools.product(range(5), repeat=6):
        for n in range(3):
            weight = math.prod(weights_NEO[n, edge, gene] for edge, gene in enumerate(cell))
            expected_N[n] += landscape.scores[cell] * weight
    assert landscape.extension(weights_NEO) == pytest.approx(expected_N, rel=1e-12)
    assert landscape.accuracy(UNIFORM[None]) == pytest.approx(0.45)


def test_a_cell_has_its_own_score_whatever_the_order_of_rows_and_operations(make, file) -> None:
    landscape = make(rank_noise=0.0, accuracy_floor=0.6)
    table = store.load("nasbench201", str(file))
    validation_R = table.columns("cifar10").validation_R
    rows = [int(validation_R.argmax()), int(validation_R.argmin()), 77]
    one_hot_NEO = np.stack([SPACE.one_hot(table.genotype(row))["cell"].numpy() for row in rows])
    scores_N = landscape.extension(one_hot_NEO)
    assert scores_N == pytest.approx(np.maximum(validation_R[rows], 0.6))
    scale = 0.05 / landscape.extension(softmax(alphas(0))).std()
    mean = np.maximum(validation_R, 0.6).mean()
    assert landscape.accuracy(one_hot_NEO) == pytest.approx(0.45 + scale * (scores_N - mean))


def alphas(seed: int) -> np.ndarray:
    """The draws behind c."""
    return RandomStreams(seed).derived("landscape").numpy("alphas").standard_normal((2000, 6, 5))


def test_spread_over_random_alphas(make) -> None:
    weights_NEO = softmax(np.random.default_rng(7).standard_normal((4000, 6, 5)))
    assert make().accuracy(weights_NEO).std() == pytest.approx(0.05, rel=0.05)
    assert make(accuracy_spread=0.02).accuracy(weights_NEO).std() == pytest.approx(0.02, rel=0.05)


def test_errors_of_cells_are_fixed_for_a_seed(make) -> None:
    exact = make(rank_noise=0.0).scores
    errors = make().scores - exact
    assert errors.std() == pytest.approx(0.05, rel=0.02)
    assert (make().scores == make().scores).all()
    assert np.corrcoef(errors.ravel(), (make(seed=1).scores - exact).ravel())[0, 1] < 0.05


@pytest.mark.skipif(not os.environ.get("NASRUN_DATA"), reason="NASRUN_DATA is not set")
def test_rank_error_on_the_real_table() -> None:
    from scipy.stats import kendalltau

    streams = RandomStreams(0)
    context = SimpleNamespace(space=SPACE, dataset_name="cifar10", streams=streams)
    evaluator = TableEvaluator(context, **SETTINGS)
    genes_RE = evaluator.table.genes(SPACE.encode)
    found = evaluator.scorer().scores[tuple(genes_RE.T)]
    assert kendalltau(found, evaluator.columns.test_R).statistic == pytest.approx(0.42, abs=0.01)
    cifar100 = SimpleNamespace(space=SPACE, dataset_name="cifar100", streams=streams)
    with pytest.raises(UsageError, match=r"accuracy_floor=0\.7 is not possible: .* below 0\.6\d+"):
        TableEvaluator(cifar100, **SETTINGS).scorer()


# ---------------------------------------------------------------------------- scores


def deviations(landscape: Landscape, num_images: int) -> tuple[float, float]:
    """Of loss and accuracy over batches, for random mixtures."""
    weights_NEO = softmax(np.random.default_rng(3).standard_normal((20, 6, 5)))
    exact_N = landscape.accuracy(weights_NEO)
    scores = [
        landscape.score(mixtures(weights_NEO), landscape.draw_batch(num_images)) for _ in range(300)
    ]
    losses = np.stack([score.loss_N for score in scores]) - (1.4 - 3 * (exact_N - 0.45))
    accuracies = np.stack([score.accuracy_N for score in scores]) - exact_N
    return float(np.sqrt((losses**2).mean())), float(np.sqrt((accuracies**2).mean()))


def test_noise_falls_with_the_root_of_the_images(make) -> None:
    assert deviations(make(), 128) == pytest.approx((0.06, 0.033), rel=0.08)
    assert deviations(make(), 512) == pytest.approx((0.03, 0.0165), rel=0.08)


def test_most_noise_of_the_loss_is_common_to_a_batch(make) -> None:
    landscape = make()
    weights_EO = softmax(np.random.default_rng(3).standard_normal((6, 5)))
    for one_EO in (weights_EO, UNIFORM):
        same = mixtures(np.stack([one_EO] * 4000))
        loss_N = landscape.score(same, landscape.draw_batch(128)).loss_N
        assert loss_N.std() == pytest.approx(0.3 * 0.06, rel=0.05)
    batch = landscape.draw_batch(128)  # linear in W - uniform: the uniform W has no part in it
    loss_N = landscape.score(mixtures(np.stack([UNIFORM] * 4000)), batch).loss_N
    assert loss_N.mean() == pytest.approx(1.4, abs=0.002)
    ordered = make(loss_noise=0.0, accuracy_noise=0.0)
    score = ordered.score(mixtures(np.stack([weights_EO, UNIFORM])), ordered.draw_batch(100))
    exact_N = ordered.accuracy(np.stack([weights_EO, UNIFORM]))
    assert score.loss_N == pytest.approx(1.4 - 3 * (exact_N - 0.45))
    assert score.accuracy_N == pytest.approx(exact_N.round(2))
    assert ordered.num_scorings == 2


def test_nothing_is_trained(make) -> None:
    landscape = make()
    before = landscape.scores.copy()
    assert landscape.train_epoch(lambda: pytest.fail("asked for weights")) == {}
    assert (landscape.scores == before).all()


# ---------------------------------------------------------------------------- refusals


def test_a_floor_above_most_of_the_table_is_refused(make) -> None:
    sentence = r"^evaluator.accuracy_floor=0.9 is .* the landscape is mostly"
    with pytest.raises(UsageError, match=sentence):
        make(accuracy_floor=0.9)


def test_a_table_of_a_space_that_is_no_grid_is_refused() -> None:
    darts = Darts(
        channels=4, cells=2, partial_channels=1, stem="cifar", operations=["skip_connect"]
    )
    with pytest.raises(UsageError, match="stand in for a supernet of space=darts, which is no"):
        only_cell(darts, SimpleNamespace(num_rows=8))


# ---------------------------------------------------------------------------- EG-NAS on it


def wired(file: Path, *overrides: str) -> Wiring:
    chosen = ["strategy=egnas", "space=nasbench201", "dataset=cifar10", "evaluator=table"]
    chosen += [f"evaluator.file={file}", "budget.epochs=8", *overrides]
    return Wiring(to_typed(composed(chosen), SearchConfig))


def run(wiring: Wiring, steps: int) -> list[dict[str, float]]:
    return [dict(wiring.strategy.step().metrics) for _ in range(steps)]


def test_egnas_climbs_a_landscape_and_is_looked_up(file) -> None:
    """Without any noise the mixture it ends at is better than the one it began with."""
    silent = [f"evaluator.{noise}_noise=0" for noise in ("rank", "loss", "accuracy")]
    wiring = wired(file, *silent, "budget.epochs=30", "fitness=performance_only")
    reports = run(wiring, 30)
    assert wiring.strategy.finished
    assert all(report["alpha_step"] > 0 for report in reports[9:])
    assert reports[-1]["val_accuracy"] > reports[9]["val_accuracy"] + 0.1
    assert reports[-1]["scorings"] == 21 * (2 * 16 + 1 + 2 + 2)
    assert wiring.strategy.last_metrics()["scorings"] == reports[-1]["scorings"] + 4
    table = wiring.final(wiring.strategy.best()[0]).table
    assert table is not None
    assert table.val_accuracy > 0.8  # of 55 to 95 %, uniform
    control = table.control
    assert control is not None
    columns = store.load("nasbench201", str(file)).columns("cifar10")
    # the other one: a convolution, then another, beside a skip from the input
    for found, name, genes in (
        (control, "nor_conv_3x3 on all edges", [3] * 6),
        (*table.references, "resnet", [3, 0, 3, 1, 0, 1]),
    ):
        row = store.load("nasbench201", str(file)).row(SPACE.decode(genes))
        figures = {
            "val_accuracy": columns.validation_R[row],
            "test_accuracy": columns.test_R[row],
        }
        assert asdict(found) == {
            "name": name,
            **figures,
            "percentile": columns.percentile(row),
            "datasets": {"cifar10": figures},
        }
    assert not wiring.needs_images


def test_a_resumed_run_on_a_landscape_is_the_run_that_was_left_alone(file, tmp_path) -> None:
    whole, first, second = (wired(file, "seed=3") for _ in range(3))
    expected = run(whole, 8)
    run(first, 5)
    state = {"work": first.strategy.state_dict(), "streams": first.streams.state_dict()}
    torch.save(state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second.strategy.load_state_dict(state["work"])
    second.streams.load_state_dict(state["streams"])
    assert run(second, 3) == expected[5:]
    assert run(wired(file, "seed=4"), 8) != expected


def test_the_readings_sweep_and_the_command_line_wins(file, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ["experiment=egnas_readings", "budget=smoke", "population.size=4"]
    overrides += ["strategy.direction=delta", "strategy.sigma=0.5", "fitness=centred"]
    overrides += ["seed=range(0,2)", f"evaluator.file={file}"]
    main(["search", "-m", *overrides])
    results = [read_result(path.parent) for path in sorted(tmp_path.rglob("result.json"))]
    assert [result.seed for result in results] == [0, 1]
    for result in results:
        assert result.retrain is None
        assert (result.evaluations, result.scorings) == (0, 2 * (5 * 4 + 1 + 5 + 5) + 4)
        text = summary(Path("folder"), result)
        assert "66 candidates scored on the landscape of the table, accuracy there" in text
        assert "control    nor_conv_3x3 on all edges has" in text
        assert "\n           resnet has" in text

"""What the values of tables are: other tasks, quantised cells, other units, means of classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks import csv_files, store
from nasrun.benchmarks.nasbench201 import NasBench201Table
from nasrun.benchmarks.nasbench201_int8 import Int8Table
from nasrun.benchmarks.nasbench360_tss import DARCY_ERROR, NasBench360Table
from nasrun.benchmarks.table import ACCURACY, Columns, Quantity
from nasrun.errors import RunError, UsageError
from nasrun.evaluators.landscape import Landscape
from nasrun.evaluators.table import TableEvaluator, error_of
from nasrun.objectives.table import TableColumn
from nasrun.protocols.evaluation import VALIDATION_ERROR, Objective
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench201 import NasBench201
from tests import made_tables
from tests.compose import node

SPACE = NasBench201(channels=4, cells=1, partial_channels=1)
NUM_ROWS = 15_625


@pytest.fixture(scope="module")
def cells():
    """The operations of all cells by their positions in `OPERATIONS`, in an order of their own."""
    made = made_tables.nasbench201()
    known = [str(name) for name in made["op_names"]]
    order = np.array([SPACE.operations.index(name) for name in known], dtype=np.uint8)
    return order[made["ops"]]


@pytest.fixture(scope="module")
def tasks(cells):
    rng = np.random.default_rng(0)
    return {
        "ops": cells,
        "ninapro_test_200": rng.permutation(np.linspace(60.0, 94.0, NUM_ROWS)),
        "darcy_test_200": rng.permutation(np.linspace(-0.75, 0.5, NUM_ROWS)),
    }


@pytest.fixture(scope="module")
def quantised(cells):
    """Three seeds; one cell was measured once, one never."""
    rng = np.random.default_rng(0)
    float_RS = rng.uniform(50.0, 90.0, (NUM_ROWS, 3)).astype(np.float32)
    int8_RS = float_RS - np.float32(10.0)
    int8_RS[7] = float_RS[7] = np.nan
    int8_RS[8] = [np.nan, 30.0, np.nan]
    float_RS[8] = [np.nan, 60.0, np.nan]
    return {
        "ops": cells,
        "cifar10_test_fp32_per_seed": float_RS,
        "cifar10_test_int8_per_seed": int8_RS,
    }


def evaluator(file: Path, dataset: str, **changed) -> TableEvaluator:
    context = SimpleNamespace(space=SPACE, dataset_name=dataset, streams=RandomStreams(0))
    settings = node("evaluator", "table", file=str(file), **changed)
    return TableEvaluator(context, **{k: v for k, v in settings.items() if k[0] != "_"})


# ---------------------------------------------------------------------------- quantities


def test_scores_are_higher_for_the_better_and_0_and_1_at_the_ends():
    latency = Quantity("latency", "ms", worst=50.0, best=10.0)
    assert latency.direction == "minimise"
    np.testing.assert_allclose(latency.scores(np.array([50.0, 20.0, 10.0])), [0.0, 0.75, 1.0])
    assert latency.value(0.75) == pytest.approx(20.0)
    assert latency.score_name == "scaled latency"
    bleu = Quantity("bleu", "points", worst=20.0, best=40.0)
    assert bleu.direction == "maximise"
    np.testing.assert_allclose(bleu.scores(np.array([20.0, 25.0])), [0.0, 0.25])
    assert (ACCURACY.direction, ACCURACY.value(0.5)) == ("maximise", 0.5)
    assert DARCY_ERROR.scores(np.array([1.75, 0.5])).tolist() == [-0.75, 0.5]


def test_what_a_search_minimises_is_the_error_itself_in_its_unit():
    assert error_of(ACCURACY) is VALIDATION_ERROR
    assert error_of(DARCY_ERROR) == Objective("relative_l2_error", "fraction")
    scaled = error_of(Quantity("latency", "ms", worst=50.0, best=10.0))
    assert (scaled.name, scaled.direction) == ("latency_from_best", "minimise")


def test_a_signal_says_its_part_its_quantity_and_one_training():
    score_R = np.array([0.5])
    named = [
        Columns(score_R, score_R, None).signal,
        Columns(None, score_R, None, trainings="3").signal,
        Columns(None, score_R, None, trainings="1").signal,
        Columns(None, score_R, None, DARCY_ERROR, "1").signal,
        Columns(score_R, score_R, None, DARCY_ERROR).signal,
    ]
    assert [name.partition(" (the table")[0] for name in named] == [
        "validation accuracy",
        "mean test accuracy",
        "test accuracy of one training",
        "1 - relative l2 error on test data of one training",
        "1 - relative l2 error on validation data",
    ]


# ---------------------------------------------------------------------------- other tasks


def test_ninapro_and_darcy_are_what_the_file_has(tasks):
    table = NasBench360Table(Path("made.npz"), tasks)
    np.testing.assert_array_equal(table.columns("ninapro").test_R, tasks["ninapro_test_200"] / 100)
    np.testing.assert_array_equal(table.columns("darcy").test_R, tasks["darcy_test_200"])
    assert {one.trainings for one in table.datasets.values()} == {"1"}
    names = [SPACE.operations[digit] for digit in tasks["ops"][77]]
    assert table.genotype(77) == SPACE.decode([SPACE.operations.index(name) for name in names])
    assert table.row(table.genotype(77)) == 77


def test_a_label_of_darcy_is_its_relative_error_and_the_result_says_so(tasks, tmp_path):
    np.savez(tmp_path / "tasks.npz", **tasks)
    table = evaluator(tmp_path / "tasks.npz", "darcy")
    worst, best = (int(pick(tasks["darcy_test_200"])) for pick in (np.argmin, np.argmax))
    genotypes = [table.table.genotype(row) for row in (worst, best)]
    labels = table.evaluate(genotypes)
    assert [label.values[0] for label in labels] == [1.75, 0.5]
    assert table.objectives == (Objective("relative_l2_error", "fraction"),)
    found = table.final(genotypes[1]).table
    assert (found.values.quantity, found.values.unit) == ("relative_l2_error", "fraction")
    assert (found.values.direction, found.values.trainings) == ("minimise", "1")
    assert found.values.test == pytest.approx(0.5)
    assert found.values.validation is None
    assert found.test_accuracy == pytest.approx(0.5)
    assert found.regret == 0.0
    assert found.signal.startswith("1 - relative l2 error on test data of one training")


def test_darcy_may_be_below_0_in_a_csv_file_and_not_above_1(tmp_path):
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    path, benchmark = tmp_path / "tasks.csv", store.benchmarks()["nasbench360_tss"]

    def read(ninapro: float, darcy: float):
        path.write_text(f"arch,ninapro_test_200,darcy_test_200\n{cell},{ninapro},{darcy}\n")
        return csv_files.read(benchmark, path, lambda *_: None)

    found = read(90.5, -0.75)
    assert (found["ninapro_test_200"], found["darcy_test_200"]) == ([90.5], [-0.75])
    assert "op_names" not in found
    with pytest.raises(UsageError, match=r"darcy_test_200 must be a number, 1 or less, not '1\.5'"):
        read(90.5, 1.5)
    with pytest.raises(UsageError, match=r"ninapro_test_200 must be a number, in .0, 100., not '"):
        read(-1, 0.5)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            lambda it: {**it, "darcy_test_200": it["darcy_test_200"] + 1},
            "darcy_test_200 must be in",
        ),
        (
            lambda it: it | {"ninapro_test_200": np.full(NUM_ROWS, np.nan)},
            "ninapro_test_200 has 15625 values that are not finite",
        ),
        (
            lambda it: {**it, "ops": it["ops"][[0, *range(15_624)]]},
            "1 of the 15625 cells are there",
        ),
    ],
)
def test_a_table_of_tasks_with_a_fault_is_refused(tasks, fault, sentence):
    with pytest.raises(UsageError, match=f"^made.npz: {sentence}"):
        NasBench360Table(Path("made.npz"), fault(tasks))


def test_a_dataset_whose_table_is_not_there_is_named_with_the_way_to_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NASRUN_DATA", str(tmp_path))
    np.savez(tmp_path / "nasbench201.npz", **made_tables.nasbench201())
    with pytest.raises(UsageError, match=r"no table of nasbench360_tss .* import nasbench360_tss"):
        store.load("nasbench201", None, "darcy")


def test_the_real_tables_of_tasks_and_of_int8_are_read_whole(data):
    tasks = store.read_arrays(data / "nasbench360_tss.npz")
    table = store.load("nasbench201", str(data / "nasbench360_tss.npz"))
    np.testing.assert_array_equal(table.columns("darcy").test_R, tasks["darcy_test_200"])
    np.testing.assert_array_equal(table.columns("ninapro").test_R, tasks["ninapro_test_200"] / 100)
    int8 = store.read_arrays(data / "nasbench201_int8.npz")
    columns = store.load("nasbench201", None, "cifar10_int8").columns("cifar10_int8")
    seeds_RS = int8["cifar10_test_int8_per_seed"]
    row = int(np.flatnonzero(np.isfinite(seeds_RS).all(axis=1))[0])
    assert columns.test_R[row] == pytest.approx(sum(map(float, seeds_RS[row])) / 300)
    assert int(np.isnan(columns.test_R).sum()) == 19
    assert columns.trainings == "1 to 3"


@pytest.fixture
def data(monkeypatch) -> Path:
    import os

    folder = os.environ.get("NASRUN_DATA")
    if not folder:
        pytest.skip("NASRUN_DATA does not name the folder with the tables")
    for name in ("nasbench360_tss", "nasbench201_int8"):
        if not (Path(folder) / f"{name}.npz").is_file():
            pytest.skip(f"there is no {name}.npz in NASRUN_DATA")
    return Path(folder)


# ---------------------------------------------------------------------------- int8


def test_int8_is_the_mean_over_the_seeds_that_were_measured(quantised):
    table = Int8Table(Path("made.npz"), quantised)
    after, before = table.columns("cifar10_int8"), table.columns("cifar10_fp32")
    expected = quantised["cifar10_test_int8_per_seed"][3].astype(float).mean() / 100
    assert after.test_R[3] == pytest.approx(expected)
    assert (after.test_R[8], before.test_R[8]) == (pytest.approx(0.3), pytest.approx(0.6))
    assert np.isnan(after.test_R[7])
    assert after.trainings == "1 to 3"
    assert after.optimum == np.nanmax(after.test_R)
    best = int(np.nanargmax(after.test_R))
    assert (after.regret(best), after.percentile(best)) == (0.0, 100.0)


def test_a_cell_that_nobody_measured_is_a_label_that_fails(quantised, tmp_path):
    np.savez(tmp_path / "int8.npz", **quantised)
    table = evaluator(tmp_path / "int8.npz", "cifar10_int8")
    missing, known = table.table.genotype(7), table.table.genotype(8)
    assert table.evaluate([known])[0].values == (pytest.approx(0.7),)
    with pytest.raises(RunError, match="nobody has measured"):
        table.evaluate([missing])
    with pytest.raises(RunError, match="the result has no figures"):
        table.final(missing)
    assert np.isfinite(table.held_out([], NUM_ROWS)[-1]).all()
    assert table.final(known).table.datasets["cifar10_fp32"].test_accuracy == pytest.approx(0.6)


def test_the_landscape_takes_what_is_not_known_for_the_floor(quantised, tmp_path):
    np.savez(tmp_path / "int8.npz", **quantised)
    changed = {"accuracy_floor": 0.4, "rank_noise": 0.0}
    table = evaluator(tmp_path / "int8.npz", "cifar10_int8", **changed)
    landscape = table.scorer()
    assert isinstance(landscape, Landscape)
    genes = SPACE.encode(table.table.genotype(7))
    assert landscape.scores[genes] == 0.4
    assert landscape.tau(table.columns.test_R) > 0.9


def test_the_error_after_int8_is_an_objective_beside_the_accuracy(quantised, tmp_path):
    np.savez(tmp_path / "int8.npz", **quantised)
    column = TableColumn(
        SimpleNamespace(space=SPACE),
        column="error_percent_int8",
        file=str(tmp_path / "int8.npz"),
    )
    table = Int8Table(Path("made.npz"), quantised)
    assert column.objective == Objective("error_percent_int8", "percent")
    assert column.measure(table.genotype(8)) == pytest.approx(70.0)
    assert column.measure(table.genotype(7)) == 100.0  # not known, so the worst


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda seeds_RS: seeds_RS * 2, r"must be in \[0, 100\], or NaN"),
        (lambda seeds_RS: seeds_RS[:, 0], "must be one accuracy for each cell and seed"),
        (lambda seeds_RS: seeds_RS * np.nan, "has no accuracies"),
    ],
)
def test_an_int8_table_with_a_fault_is_refused(quantised, change, sentence):
    name = "cifar10_test_int8_per_seed"
    with pytest.raises(UsageError, match=f"^made.npz: {name} {sentence}"):
        Int8Table(Path("made.npz"), {**quantised, name: change(quantised[name])})


# ---------------------------------------------------------------------------- isomorphic cells


def test_means_of_classes_by_hand():
    columns = Columns(None, np.array([0.2, 0.4, 0.9, np.nan, np.nan]), np.arange(5.0))
    averaged = columns.averaged(np.array([0, 0, 1, 1, 2]))
    np.testing.assert_allclose(averaged.test_R, [0.3, 0.3, 0.9, 0.9, np.nan])
    np.testing.assert_allclose(averaged.seconds_R, [0.5, 0.5, 2.5, 2.5, 4.0])
    assert averaged.validation_R is None
    both = replace(columns, validation_R=np.array([1.0, 0.0, 0.5, 0.5, 0.1]))
    assert both.averaged(np.array([0, 0, 1, 1, 2])).validation_R.tolist() == [
        0.5,
        0.5,
        0.5,
        0.5,
        0.1,
    ]


def isomorphic_pair(table):
    """Two cells that compute the same: the operation on the edge after `none` does not matter."""
    operations = SPACE.operations
    cells = []
    for dead in ("none", "nor_conv_3x3"):
        # nothing enters node 1, so that what leaves it is nothing as well
        names = ["none", "skip_connect", dead, "nor_conv_1x1", dead, "avg_pool_3x3"]
        cells.append(SPACE.decode([operations.index(name) for name in names]))
    assert SPACE.canonical(cells[0]) == SPACE.canonical(cells[1])
    return cells


def test_cells_that_compute_the_same_share_their_mean_where_it_is_asked_for(tasks, tmp_path):
    np.savez(tmp_path / "tasks.npz", **tasks)
    own, averaged, judged = (
        evaluator(tmp_path / "tasks.npz", "ninapro", isomorphic=how)
        for how in ("own", "averaged", "averaged_in_the_end")
    )
    pair = isomorphic_pair(own.table)
    key = SPACE.canonical(pair[0])
    rows = [row for row in range(NUM_ROWS) if SPACE.canonical(own.table.genotype(row)) == key]
    mean = tasks["ninapro_test_200"][rows].mean() / 100
    each = [tasks["ninapro_test_200"][own.table.row(one)] / 100 for one in pair]
    assert each[0] != each[1]
    assert [1 - one.values[0] for one in own.evaluate(pair)] == pytest.approx(each)
    assert [1 - one.values[0] for one in averaged.evaluate(pair)] == pytest.approx([mean, mean])
    assert [1 - one.values[0] for one in judged.evaluate(pair)] == pytest.approx(each)
    found = [one.final(pair[0]).table for one in (own, averaged, judged)]
    assert [one.test_accuracy for one in found] == pytest.approx([each[0], mean, mean])
    assert [one.values.isomorphic for one in found] == ["own", "averaged", "averaged_in_the_end"]
    one = "test accuracy of one training (the table has no validation column)"
    mean_of = "mean test accuracy (the table has no validation column)"
    assert [it.signal for it in found] == [one, mean_of, one]
    alike = "1 of each cell that computes the same"
    assert [it.values.trainings for it in found] == ["1", alike, alike]
    assert found[1].datasets["ninapro"].test_accuracy == pytest.approx(mean)
    assert found[2].regret == pytest.approx(judged.judged.optimum - mean)
    assert judged.best_within(lambda genotype: True) is None
    assert len(set(own.table.classes(SPACE.canonical).tolist())) == 6_466


def test_the_published_number_of_trainings_is_read_from_the_table():
    arrays = made_tables.nasbench201()
    assert NasBench201Table(Path("made.npz"), arrays).columns("cifar10").trainings is None
    counts = {"n_seeds_200": np.where(np.arange(NUM_ROWS) % 2, 2, 3)}
    table = NasBench201Table(Path("made.npz"), {**arrays, **counts})
    assert table.columns("cifar10").trainings == "2 to 3"

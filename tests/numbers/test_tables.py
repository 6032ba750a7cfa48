"""Benchmark tables, on a made one of NAS-Bench-201 and on the real ones where they are there."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks import store
from nasrun.benchmarks.benchmark import Benchmark
from nasrun.benchmarks.nasbench101 import NasBench101Table
from nasrun.benchmarks.nasbench201 import NasBench201Cells, NasBench201Table
from nasrun.benchmarks.table import Columns
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.table import TableEvaluator
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench101 import NasBench101
from nasrun.spaces.nasbench201 import NasBench201
from tests import made_tables
from tests.compose import composed, node

SPACE = NasBench201(channels=4, cells=1, partial_channels=1)
NUM_ROWS = 15_625


@pytest.fixture(scope="module")
def arrays():
    """All cells, whose accuracies go from 10 (cifar10) and 1 (cifar100) to 90 percent."""
    return made_tables.nasbench201(dict.fromkeys(made_tables.PUBLISHED, 90.0))


@pytest.fixture(scope="module")
def file(arrays, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "nasbench201.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def real101():
    folder = os.environ.get("NASRUN_DATA")
    if not folder:
        pytest.skip("NASRUN_DATA does not name the folder with nasbench101.npz")
    return store.read_arrays(Path(folder) / "nasbench101.npz")


# ---------------------------------------------------------------------------- rows and columns


def test_rows_and_genotypes_are_inverse_and_of_the_space(arrays, file):
    table = store.load("nasbench201", str(file))
    assert [table.row(table.genotype(row)) for row in range(0, NUM_ROWS, 97)] == list(
        range(0, NUM_ROWS, 97)
    )
    for row in (0, 1, 15_624):
        SPACE.validate(table.genotype(row))
        names = [arrays["op_names"][digit] for digit in arrays["ops"][row]]
        genes = [SPACE.operations.index(name) for name in names]
        assert table.genotype(row) == SPACE.decode(genes)
    assert len(set(table.genotypes())) == NUM_ROWS


def test_columns_are_fractions_with_a_regret_and_a_percentile(arrays, file):
    columns = store.load("nasbench201", str(file)).columns("cifar100")
    assert columns.signal == "validation accuracy"
    assert columns.seconds_R is None
    best = int(arrays["cifar100_val_200"].argmax())
    assert columns.signal_R[best] == pytest.approx(0.9)
    assert columns.regret(best) == 0.0
    worst = int(arrays["cifar100_val_200"].argmin())
    assert columns.regret(worst) == pytest.approx(0.89)
    middle = int(np.argsort(arrays["cifar100_test_200"])[NUM_ROWS // 2])
    assert columns.percentile(middle) == pytest.approx(100 * 7813 / 15_625)  # itself and 7,812


def test_without_validation_the_signal_is_the_test_accuracy_and_says_so():
    columns = Columns(None, np.array([0.5, 0.9, 0.8]), None)
    assert "mean test accuracy" in columns.signal
    assert columns.regret(2) == pytest.approx(0.1)
    assert columns.percentile(2) == pytest.approx(200 / 3)


def test_imagenet16_is_a_column_like_the_others(arrays, file, tmp_path):
    with pytest.raises(UsageError, match=r"^dataset=imagenet16 has no column in .*cifar10"):
        store.load("nasbench201", str(file)).columns("imagenet16")
    more = {f"imagenet16_{part}_200": np.full(NUM_ROWS, 40.0) for part in ("val", "test")}
    np.savez(tmp_path / "more.npz", **arrays, **more)
    columns = store.load("nasbench201", str(tmp_path / "more.npz")).columns("imagenet16")
    assert columns.signal_R[0] == 0.4


def test_nasbench101_rows_are_found_by_their_hash(real101):
    table = NasBench101Table(Path("made.npz"), real101)
    rows = np.random.default_rng(0).choice(table.num_rows, 50, replace=False).tolist()
    rows += [0, 1, table.num_rows - 1]
    space = NasBench101(channels=8, cells=1)
    rng = np.random.default_rng(0)
    for row in rows:
        genotype = table.genotype(row)
        space.validate(genotype)
        assert table.row(genotype) == row
        seven = space.decode(space.encode(genotype))
        assert table.row(seven) == row
    for _ in range(30):  # whatever the operators yield has a row
        table.row(space.mutate(space.sample(rng), rng))
    columns = table.columns("cifar10")
    assert "mean test accuracy" in columns.signal
    assert columns.signal_R.max() == pytest.approx(0.943176, abs=5e-7)
    ring = Cell("cell", ("input", *["maxpool3x3"] * 6, "output"), tuple(
        Edge("", i, i + 1) for i in range(7)
    ))  # fmt: skip
    with pytest.raises(UsageError, match="has no row"):
        table.row(Genotype("nasbench101", (ring,)))


def test_the_real_nasbench201_has_the_known_optima():
    if not os.environ.get("NASRUN_DATA"):
        pytest.skip("NASRUN_DATA does not name the folder with nasbench201.npz")
    table = store.load("nasbench201")
    best = [(0.916067, 0.9437), (0.734933, 0.7351)]  # validation, and test there
    for dataset, (validation, test) in zip(("cifar10", "cifar100"), best, strict=True):
        columns = table.columns(dataset)
        row = int(columns.signal_R.argmax())
        assert columns.signal_R[row] == pytest.approx(validation, abs=5e-7)
        assert columns.test_R[row] == pytest.approx(test, abs=5e-5)
    # EG-NAS reports 93.56 on CIFAR-10: percentile 97.7.
    assert (table.columns("cifar10").test_R <= 0.9356).mean() == pytest.approx(0.977, abs=5e-4)


# ---------------------------------------------------------------------------- faults


def changed(arrays, name, row, value):
    column = arrays[name].copy()
    column[row] = value
    return {**arrays, name: column}


FAULTS = {
    "a missing row": (
        lambda a: {name: v if name == "op_names" else v[1:] for name, v in a.items()},
        "it has 15624 rows, not 15625, one per cell",
    ),
    "a double row": (
        lambda a: changed(a, "ops", 0, a["ops"][1]),
        "1 of the 15625 cells are there twice",
    ),
    "a NaN": (lambda a: changed(a, "cifar10_val_200", 7, np.nan), "cifar10_val_200 has 1 values"),
    "fractions over 100": (
        lambda a: changed(a, "cifar10_test_200", 7, 101.0),
        r"cifar10_test_200 must be in \[0, 100\], not 10 to 101",
    ),
    "an operation too many": (lambda a: changed(a, "ops", 0, 5), "ops must be 0 to 4, not 0 to 5"),
    "strange operations": (
        lambda a: {**a, "op_names": np.array(list("abcde"))},
        "op_names must be none, skip_connect",
    ),
    "half a pair": (
        lambda a: {name: v for name, v in a.items() if name != "cifar10_test_200"},
        "it has cifar10_val_200, and lacks the other",
    ),
    "counts that differ": (
        lambda a: {**a, "cifar100_val_200": a["cifar100_val_200"][:9]},
        "cifar100_val_200 must be 15625 numbers",
    ),
    "no accuracies": (
        lambda a: {name: a[name] for name in ("ops", "op_names")},
        "it has no accuracies",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_with_a_fault_is_refused_in_one_sentence(arrays, fault):
    spoil, sentence = FAULTS[fault]
    with pytest.raises(UsageError, match=sentence) as caught:
        NasBench201Table(Path("made.npz"), spoil(arrays))
    assert "\n" not in str(caught.value)


def test_a_nasbench101_table_with_a_fault_is_refused(real101):
    def refused(arrays, sentence):
        with pytest.raises(UsageError, match=sentence):
            NasBench101Table(Path("made.npz"), arrays)

    refused({name: v[:99] for name, v in real101.items() if v.ndim}, "it has 99 rows, not 423624")
    refused(changed(real101, "n_vertices", 5, 8), "1 rows have vertices, edges or ops")
    refused(
        changed(real101, "test_correct_sum", 5, 30_000),
        r"must be in \[0, 29952\], not \d+ to 30000",
    )
    double = changed(real101, "ops", 0, real101["ops"][1])
    double = changed(double, "adjacency_bits", 0, real101["adjacency_bits"][1])
    refused(double, "1 of the rows are there twice")
    mixed = np.random.default_rng(0).permutation(len(real101["ops"]))
    rows = {name: v[mixed] for name, v in real101.items() if len(v.shape) and len(v) > 5}
    refused({**real101, **rows}, "do not ascend by the graph hash")


def test_files_that_are_no_table_are_refused(arrays, file, tmp_path):
    def refused(space, name, sentence):
        with pytest.raises(UsageError, match=sentence):
            store.load(space, str(tmp_path / name))

    np.savez(tmp_path / "other.npz", x_train=np.zeros(3))
    np.savez(tmp_path / "objects.npz", ops=np.array([{}], dtype=object))
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(file.read_bytes()[:9999])
    refused("nasbench201", "missing.npz", "evaluator.file=.*missing.npz is not there")
    refused("nasbench201", "other.npz", "no table of space=nasbench201: it lacks ops, op_names")
    refused("nasbench201", "objects.npz", "is not a table.*pickle")
    refused("nasbench201", "one.npy", "is not a table.*another format")
    refused("nasbench201", "cut.npz", "is not a table.*cut off")
    with pytest.raises(UsageError, match="it is a table of space=nasbench201"):
        store.load("nasbench101", str(file))
    with pytest.raises(UsageError, match=r"evaluator=table is not possible with space=toy"):
        store.load("toy")


# ---------------------------------------------------------------------------- where they are


def test_a_table_is_looked_for_in_two_places(file, tmp_path, monkeypatch):
    monkeypatch.setenv("NASRUN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    imported = tmp_path / "cache" / "nasrun" / "tables" / "nasbench201.npz"
    with pytest.raises(UsageError) as caught:
        store.locate("nasbench201")
    assert f"{tmp_path / 'data' / 'nasbench201.npz'} and {imported}" in str(caught.value)
    assert "evaluator.file=FILE, or type nasrun data import nasbench201 FILE" in str(caught.value)
    imported.parent.mkdir(parents=True)
    imported.write_bytes(file.read_bytes())
    assert store.locate("nasbench201") == imported
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nasbench201.npz").write_bytes(file.read_bytes())
    assert store.locate("nasbench201") == tmp_path / "data" / "nasbench201.npz"
    monkeypatch.delenv("NASRUN_DATA")
    assert store.locate("nasbench201") == imported


def test_a_loaded_table_is_shared_until_the_file_changes(file):
    first = store.load("nasbench201", str(file))
    assert store.load("nasbench201", str(file)) is first
    os.utime(file, ns=(1, 1))
    assert store.load("nasbench201", str(file)) is not first


class GridTable(NasBench201Cells):
    """The same cells, with what they reach on a grid of numbers."""

    required = ("ops", "grid_test")
    numbers = {"grid_test": 1.0}  # noqa: RUF012 - as the base class has it

    def read_columns(self, arrays):
        self.keep_cells(arrays)
        return {"grid": Columns(None, arrays["grid_test"], None)}


class GridBenchmark(Benchmark):
    table = GridTable


def test_a_space_may_have_two_benchmarks(arrays, file, tmp_path, monkeypatch):
    """The dataset tells which table is meant, or its name does."""
    two = {**store.benchmarks(), "a_grid": GridBenchmark(name="a_grid")}
    monkeypatch.setattr(store, "benchmarks", lambda: two)
    monkeypatch.setenv("NASRUN_DATA", str(tmp_path))
    grid = {"grid_test": np.linspace(0.0, 1.0, NUM_ROWS)}
    np.savez(tmp_path / "a_grid.npz", ops=arrays["ops"], **grid)
    alone = store.load("nasbench201")  # there is no other yet
    assert type(alone) is GridTable
    assert alone.row(alone.genotype(77)) == 77
    np.savez(tmp_path / "nasbench201.npz", **arrays)
    chosen = {dataset: store.load("nasbench201", None, dataset) for dataset in ("cifar10", "grid")}
    assert [type(table) for table in chosen.values()] == [NasBench201Table, GridTable]
    assert type(store.load("nasbench201")) is NasBench201Table
    assert type(store.load("nasbench201", "a_grid")) is GridTable
    assert type(store.load("nasbench201", str(tmp_path / "a_grid.npz"))) is GridTable
    with pytest.raises(UsageError, match=r"^dataset=digits has no column in .*nasbench201\.npz"):
        store.load("nasbench201", None, "digits").columns("digits")
    with pytest.raises(UsageError, match="no table of space=nasbench101: it is a table of a_grid"):
        store.load("nasbench101", "a_grid")


# ---------------------------------------------------------------------------- the evaluator


def evaluator(file, dataset="cifar10"):
    context = SimpleNamespace(space=SPACE, dataset_name=dataset, streams=RandomStreams(0))
    settings = node("evaluator", "table", file=str(file))
    return TableEvaluator(context, **{k: v for k, v in settings.items() if k[0] != "_"})


def test_labels_are_validation_errors_with_simulated_seconds(arrays, file):
    rows = [3, 0, 99]
    of_table = store.load("nasbench201", str(file))
    genotypes = [of_table.genotype(row) for row in rows]
    labels = evaluator(file).evaluate(genotypes)
    assert [label.genotype for label in labels] == genotypes
    expected = 1.0 - arrays["cifar10_val_200"][rows] / 100
    np.testing.assert_allclose([label.values for label in labels], expected[:, None], rtol=1e-12)
    seconds = arrays["train_seconds_200_cifar10valid"][rows].tolist()
    assert [label.cost_s for label in labels] == seconds
    assert [label.cost_s for label in evaluator(file, "cifar100").evaluate(genotypes)] == [0.0] * 3


def test_no_test_value_is_read_before_the_end(file):
    whole, blind = evaluator(file), evaluator(file)
    blind.columns = blind.judged = replace(blind.columns, test_R=None)
    rng = np.random.default_rng(0)
    genotypes = [SPACE.sample(rng) for _ in range(20)]
    assert blind.evaluate(genotypes) == whole.evaluate(genotypes)
    with pytest.raises(TypeError):
        blind.final(genotypes[0])


def test_held_out_are_cells_without_a_label_and_no_copies_of_labelled_ones(file):
    table = evaluator(file)
    labels = table.evaluate([SPACE.decode(genes) for genes in ([3, 0, 1, 2, 1, 4], [1] * 6)])
    _, graphs, accuracy_N = table.held_out(labels, NUM_ROWS)
    known = {SPACE.canonical(label.genotype) for label in labels}
    rest = [one for one in SPACE.enumerate() if SPACE.canonical(one) not in known]
    assert len(graphs) == len(accuracy_N) == len(rest) < NUM_ROWS - len(labels)
    again, *_ = evaluator(file).held_out(labels, 100)
    assert 90 < len(again) <= 100


def test_the_end_shows_the_winner_on_all_datasets(arrays, file):
    row = int(arrays["cifar10_val_200"].argmax())
    found = evaluator(file).final(store.load("nasbench201", str(file)).genotype(row)).table
    test = arrays["cifar10_test_200"][row] / 100
    assert found.signal == "validation accuracy"
    assert (found.val_accuracy, found.regret) == (pytest.approx(0.9), 0.0)
    assert found.test_accuracy == pytest.approx(test)
    assert found.percentile == pytest.approx(100 * (test - 0.1) / 0.8, abs=0.01)
    on_cifar100 = found.datasets["cifar100"]
    assert on_cifar100.val_accuracy == pytest.approx(arrays["cifar100_val_200"][row] / 100)
    assert on_cifar100.test_accuracy == pytest.approx(arrays["cifar100_test_200"][row] / 100)


def test_what_the_table_has_not_got_is_refused(file):
    with pytest.raises(UsageError, match=r"^dataset=digits has no column in the table"):
        evaluator(file, "digits")
    outside = Genotype("nasbench201", (Cell("cell", ("in", "1", "2", "out"), ()),))
    with pytest.raises(UsageError, match="a nasbench201 cell has 4 nodes"):
        evaluator(file).evaluate([outside])


# ---------------------------------------------------------------------------- in a run


def settings(*overrides: str) -> SearchConfig:
    chosen = ["strategy=random", "space=nasbench201", "dataset=cifar10", "evaluator=table"]
    return to_typed(composed([*chosen, *overrides]), SearchConfig)


def test_on_a_table_nothing_is_retrained_unless_asked():
    assert settings().retrain.epochs == 0
    assert settings("retrain=short").retrain.epochs == 30
    assert settings("retrain.epochs=7").retrain.epochs == 7
    assert settings("evaluator=train").retrain.epochs == 30


def test_on_a_table_no_images_are_loaded_unless_something_trains(file):
    """There is no CIFAR-10 in this folder."""
    wiring = Wiring(settings(f"evaluator.file={file}", "budget.evaluations=5"))
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    data = {"name": "cifar10", "sha256": None, "table_sha256": checksum}
    assert wiring.record()["data"] == data
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert len(wiring.evaluator) == 5
    final = wiring.final(wiring.strategy.best()[0])
    assert final.table is not None
    assert final.one_shot is None
    assert "dataset" not in vars(wiring)
    with pytest.raises(UsageError, match="CIFAR10 is not there"):
        Wiring(settings(f"evaluator.file={file}", "retrain=smoke", "dataset.root=nowhere"))

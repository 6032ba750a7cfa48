"""Tables from CSV files and from the official ones: the same as in the condensed form."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks import csv_files, nasbench101, nasbench201, nats_files, store, tfrecord_files
from nasrun.benchmarks.nasbench101 import NasBench101Table
from nasrun.benchmarks.nasbench201 import SECONDS, NasBench201Table
from nasrun.errors import UsageError
from nasrun.genotypes.nasbench101 import parse
from tests import made_tables


def no_progress(done: int, total: int, **figures: float) -> None: ...


@pytest.fixture(scope="module")
def arrays101():
    return made_tables.nasbench101()


@pytest.fixture
def table101(arrays101, monkeypatch):
    monkeypatch.setattr(NasBench101Table, "num_rows", made_tables.NUM_101)
    return NasBench101Table(Path("made.npz"), arrays101)


def read(name: str, path: Path, text: str):
    path.write_text(text)
    return csv_files.read(store.benchmarks()[name], path, no_progress)


# ---------------------------------------------------------------------------- NAS-Bench-101


def test_a_cell_is_read_from_its_matrix():
    graph = parse("0110000100010000", ["input", "maxpool3x3", "conv1x1-bn-relu", "output"])
    assert graph.operations == (2, 1)
    assert graph.pairs == ((0, 1), (0, 2), (1, 3), (2, 3))
    assert parse("0100", ["input", "output"]).pairs == ((0, 1),)


@pytest.mark.parametrize(
    ("adjacency", "names", "sentence"),
    [
        ("010", "input output", "must be the 0 and 1 of a square matrix"),
        ("0200", "input output", "must be the 0 and 1 of a square matrix"),
        ("0" * 64, "input output", "of 2 to 7 rows"),
        ("0100", "input", "must be 2 names, input first"),
        ("0100", "output input", "must be 2 names, input first"),
        ("010001000", "input conv3x3 output", "no operation 'conv3x3'; did you mean conv3x3-bn"),
        ("010101000", "input maxpool3x3 output", "all above the diagonal"),
        ("011000000", "input maxpool3x3 output", "each vertex on a path"),
    ],
)
def test_what_is_no_cell_is_refused(adjacency, names, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(adjacency, names.split())


def test_nasbench101_from_csv_is_the_condensed_form(arrays101, table101, tmp_path):
    order = np.random.default_rng(1).permutation(table101.num_rows)
    lines = ["params,adjacency,operations,val_accuracy,test_accuracy,train_seconds"]
    for row in order:
        val, test = (arrays101[f"{part}_correct_sum"][row] / 29_952 for part in ("val", "test"))
        figures = f"{val:.6f},{test:.6f},{arrays101['train_seconds'][row]}"
        lines.append(f"{arrays101['params'][row]},{table101.text(row)},{figures}")
    found = read("nasbench101", tmp_path / "a.csv", "\n".join(lines))
    assert found.keys() == arrays101.keys()
    for name, expected in arrays101.items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_nasbench101_from_the_official_file_is_the_condensed_form(arrays101, table101, tmp_path):
    """Three trainings of 108 epochs are summed, those of 36 left out. The made file has its own
    hashes, in the order of the rows."""
    path = tmp_path / "nasbench_full.tfrecord"
    texts = [table101.text(row) for row in range(table101.num_rows)]
    made_tables.write_tfrecord(path, arrays101, texts)
    found = nasbench101.condensed(*tfrecord_files.read(path, no_progress))
    assert found.keys() == arrays101.keys()
    for name, expected in arrays101.items():
        if name == "train_seconds":
            np.testing.assert_allclose(found[name], expected, rtol=1e-12)
        else:
            np.testing.assert_array_equal(found[name], expected, err_msg=name)

    def refused(content: bytes, sentence: str) -> None:
        path.write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            tfrecord_files.read(path, no_progress)

    content = path.read_bytes()
    refused(content[:-9], "or is damaged after byte .*the last record is cut off")
    refused(b"PK" * 99, "not an official file of NAS-Bench-101.* a record claims to have")
    refused(content.replace(b"maxpool", b"minpool"), "no operation 'minpool3x3'")
    refused(content.replace(b'", 108', b'", 107', 1), "3 trainings of 108 epochs .* 1 of its 200")
    refused(b"", "3 trainings of 108 epochs")


def test_a_validation_column_is_the_signal(arrays101, table101):
    columns = table101.columns("cifar10")
    assert columns.signal == "validation accuracy"
    assert columns.signal_R.max() == pytest.approx(0.950554, abs=5e-7)
    assert columns.test_R.max() == pytest.approx(0.943176, abs=5e-7)
    assert columns.seconds_R.tolist() == arrays101["train_seconds"].tolist()


# ---------------------------------------------------------------------------- NAS-Bench-201

CELL = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|"
EDGES = "edge_0_1,edge_0_2,edge_1_2,edge_0_3,edge_1_3,edge_2_3"


def test_a_cell_has_two_spellings(tmp_path):
    columns = "cifar100_val_200,cifar100_test_200,params_cifar100"
    text = f"arch,{columns}\n{CELL},50.5, 49.5 ,1e6\n\n"
    first = read("nasbench201", tmp_path / "a.csv", text)
    names = "none,skip_connect,nor_conv_1x1,none,none,avg_pool_3x3"
    text = f"\ufeff{columns},{EDGES}\r\n50.5,49.5,1000000,{names}\r\n"  # as Excel writes it
    second = read("nasbench201", tmp_path / "a.csv", text)
    assert first.keys() == second.keys() == {"ops", "op_names", *columns.split(",")}
    assert first["ops"].tolist() == second["ops"].tolist() == [[0, 1, 2, 0, 0, 4]]
    for found in (first, second):
        assert [found[name].tolist() for name in columns.split(",")] == [[50.5], [49.5], [1e6]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "its header lacks arch; a CSV file of nasbench201 has the columns arch"),
        ("a,b\n", "its header lacks arch; a CSV file of nasbench201 has"),
        ("arch,cifar10_val200\n", r"'cifar10_val200' is not known \(did you mean cifar10_val_200"),
        ("arch,arch\n", "it has a column twice"),
        (f"arch,cifar10_val_200\n{CELL},9\n{CELL},much\n", "line 3: cifar10_val_200 must be a num"),
        (f"arch,cifar10_val_200\n{CELL},nan\n", r"line 2: .* in \[0, 100\], not 'nan'"),
        (f"arch,cifar10_val_200\n{CELL},101\n", "line 2: .* not '101'"),
        (f"arch,params_cifar10\n{CELL},-1\n", "line 2: params_cifar10 .* 0 or more, not '-1'"),
        (f"arch,params_cifar10\n{CELL}\n", "line 2: it has 1 fields, and the header 2"),
        ("arch\n|none~0|\n", "line 2: a NAS-Bench-201 string has three nodes"),
        ("arch\nGenotype(normal=[])\n", "line 2: "),
        (f"arch\n{CELL.replace('1x1', '5x5')}\n", "line 2: .*'nor_conv_5x5'; did you mean nor_c"),
        ("arch\n" + "x" * 200_000, "cannot be read as a CSV file: field larger"),
    ],
    ids=lambda value: value[:20],
)
def test_a_csv_file_with_a_fault_is_refused(text, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence) as caught:
        read("nasbench201", tmp_path / "a.csv", text)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read as a CSV file"):
        csv_files.read(store.benchmarks()["nasbench201"], tmp_path / "a.csv", no_progress)


class FakeNats:
    """What `nats_bench.create` gives: cells, and figures that depend on how they are asked for."""

    def __init__(self, arrays):
        self.table = NasBench201Table(Path("made.npz"), arrays)
        self.arrays = arrays

    def __len__(self):
        return 15_625

    def arch(self, index):
        return self.table.text(index)

    def get_more_info(self, index, dataset, iepoch=None, hp="12", is_random=True):
        assert (hp, is_random) == ("200", False)
        seconds = {"train-all-time": 7.0, "train-accuracy": 100.0}
        if dataset == "ImageNet16-120":
            return {"valid-accuracy": 46.77, "test-accuracy": 47.31, **seconds}
        ours = dataset.partition("-")[0]
        found = {name: float(self.arrays[f"{ours}_{short}_200"][index]) for name, short in
                 (("valid-accuracy", "val"), ("test-accuracy", "test"))}  # fmt: skip
        if dataset == "cifar10":
            del found["valid-accuracy"]  # all was trained on
        if dataset == "cifar10-valid":
            found["test-accuracy"] -= 5.0  # half was trained on
        return {**found, **seconds}

    def query_by_index(self, arch_index, dataname=None, hp="12"):
        assert (dataname, hp) == (None, "200")
        return SimpleNamespace(get_dataset_seeds=self.seeds)

    def seeds(self, dataset):
        return {"cifar10-valid": [777, 888], "ImageNet16-120": [777]}.get(dataset, [777, 888, 999])

    def get_cost_info(self, index, dataset, hp="12"):
        return {"params": 0.1 + index * 1e-6, "flops": 3.0}


def test_nasbench201_from_its_library_is_the_condensed_form():
    arrays = made_tables.nasbench201()
    found = nasbench201.condensed(*nats_files.table(FakeNats(arrays), SECONDS, no_progress))
    table = NasBench201Table(Path("found.npz"), found)
    assert list(table.datasets) == ["cifar10", "cifar100", "imagenet16"]
    expected = NasBench201Table(Path("made.npz"), arrays)
    for row in range(0, 15_625, 500):
        assert table.genotype(row) == expected.genotype(row)
    for name in made_tables.PUBLISHED:
        np.testing.assert_array_equal(found[name], arrays[name], err_msg=name)
    assert table.columns("imagenet16").regret(3) == 0.0
    assert set(found["imagenet16_val_200"]) == {46.77}
    assert set(found["imagenet16_test_200"]) == {47.31}
    trainings = [columns.trainings for columns in table.datasets.values()]
    assert trainings == ["2", "3", "1"]  # of CIFAR-10 the fewer of both trainings
    assert set(found["train_seconds_200_cifar100"]) == {7.0}
    np.testing.assert_array_equal(found["params_cifar10"], np.arange(15_625) + 100_000)


def test_the_library_is_called_by_its_documented_arguments(monkeypatch, tmp_path):
    calls = []

    def create(*arguments, **keywords):
        calls.append((arguments, keywords))
        raise io.UnsupportedOperation("no bzip2")

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))
    with pytest.raises(UsageError, match=r"nats_bench cannot read .*no bzip2"):
        nats_files.read(tmp_path, SECONDS, no_progress)
    assert calls == [((str(tmp_path), "tss"), {"fast_mode": True, "verbose": False})]
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(UsageError, match=r'not installed: .*pip install -e "\.\[benchmarks\]"'):
        nats_files.read(tmp_path, SECONDS, no_progress)

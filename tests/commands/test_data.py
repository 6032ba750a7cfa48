"""`nasrun data`: tables into the cache folder, and looked at."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from nasrun.benchmarks import importing, store
from nasrun.benchmarks.benchmark import FOLDER
from nasrun.benchmarks.nasbench101 import NasBench101Table
from nasrun.benchmarks.nasbench201 import NasBench201Table
from nasrun.cli.main import main
from nasrun.evaluators.table import TableEvaluator
from nasrun.randomness import RandomStreams
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.terminal import console as console_module
from nasrun.terminal import progress
from nasrun.terminal.pace import Pace
from tests import made_tables
from tests.commands.test_cli import WITHOUT_HEAVY_MODULES
from tests.compose import node

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with nasbench201.npz, and nasbench101.npz of a few cells."""
    folder = tmp_path_factory.mktemp("made")
    np.savez(folder / "nasbench201.npz", **made_tables.nasbench201())
    np.savez(folder / "nasbench101.npz", **made_tables.nasbench101())
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, no other place to look in, and a NAS-Bench-101 of a few cells."""
    monkeypatch.delenv("NASRUN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(NasBench101Table, "num_rows", made_tables.NUM_101)
    return tmp_path / "cache" / "nasrun" / "tables"


def fails(capsys, *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(["data", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


def changed(file: Path, to: Path, **columns) -> Path:
    np.savez(to, **{**store.read_arrays(file), **columns})
    return to


def csv_file(name: str, table, path: Path, columns: dict[str, np.ndarray]) -> Path:
    cells = {group[0]: group for group in store.benchmarks()[name].layout.cells}
    header = ",".join([*next(iter(cells.values())), *columns])
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    lines = [f"{table.text(row)},{','.join(map(repr, v))}" for row, v in enumerate(rows)]
    path.write_text("\n".join([header, *lines]))
    return path


# ---------------------------------------------------------------------------- import


def table_evaluator(context, file):
    settings = node("evaluator", "table", file=file)
    return TableEvaluator(context, **{k: v for k, v in settings.items() if k[0] != "_"})


def test_an_imported_table_is_what_a_search_reads(made, cache, capsys, monkeypatch):
    main(["data", "import", "nasbench201", str(made / "nasbench201.npz")])
    assert capsys.readouterr().out == f"imported: {cache / 'nasbench201.npz'}\n"
    assert [path.name for path in cache.iterdir()] == ["nasbench201.npz"]
    space = NasBench201(channels=4, cells=1, partial_channels=1)
    context = SimpleNamespace(space=space, dataset_name="cifar100", streams=RandomStreams(0))
    evaluator = table_evaluator(context, None)
    assert evaluator.table.path == cache / "nasbench201.npz"
    rng = np.random.default_rng(0)
    genotypes = [space.sample(rng) for _ in range(20)]
    expected = table_evaluator(context, str(made / "nasbench201.npz"))
    assert evaluator.evaluate(genotypes) == expected.evaluate(genotypes)

    before = (cache / "nasbench201.npz").stat()
    code, error = fails(capsys, "import", "nasbench201", made / "nasbench201.npz")
    assert code == 2
    assert error == f"nasrun: {cache / 'nasbench201.npz'} is there already: --force replaces it\n"
    assert (cache / "nasbench201.npz").stat() == before
    monkeypatch.setenv("NASRUN_DATA", str(made))
    main(["data", "import", "nasbench201", str(made / "nasbench201.npz"), "--force"])
    assert (cache / "nasbench201.npz").stat().st_ino != before.st_ino
    assert f"NASRUN_DATA says: {made / 'nasbench201.npz'}" in capsys.readouterr().out


def test_nasbench101_from_three_kinds_of_files(made, cache, tmp_path):
    """The condensed form, CSV, and the official file, by whose hashes the rows are sorted."""
    arrays = store.read_arrays(made / "nasbench101.npz")
    table = NasBench101Table(Path("made.npz"), arrays)
    columns = {
        "test_accuracy": arrays["test_correct_sum"] / 29_952,
        "val_accuracy": arrays["val_correct_sum"] / 29_952,
        "train_seconds": arrays["train_seconds"],
        "params": arrays["params"],
    }
    official = tmp_path / "nasbench_only108.tfrecord"
    texts = [table.text(row) for row in range(table.num_rows)]
    made_tables.write_tfrecord(official, arrays, texts)
    for file in (
        made / "nasbench101.npz",
        csv_file("nasbench101", table, tmp_path / "table.csv", columns),
        official,
    ):
        main(["data", "import", "nasbench101", str(file), "--force"])
        found = store.read_arrays(cache / "nasbench101.npz")
        assert set(found) == {*arrays, "README"}
        for name, values in arrays.items():
            if values.dtype.kind in "iuf":
                np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=name)
    assert (
        found["README"].tolist() == '{"source": "nasbench_only108.tfrecord", "by": "nasrun data"}'
    )


@pytest.mark.skipif("NASRUN_DATA" not in os.environ, reason="needs the real nasbench201.npz")
def test_all_rows_of_the_real_nasbench201_from_csv(cache, tmp_path):
    real = Path(REAL_DATA) / "nasbench201.npz"
    arrays = store.read_arrays(real)
    table = store.table_of(store.of_space("nasbench201"), real, arrays)
    columns = {name: arrays[name] for name in table.numbers if name in arrays}
    assert {"cifar100_test_200", "params_cifar10", "train_seconds_200_cifar100"} <= set(columns)
    file = csv_file("nasbench201", table, tmp_path / "table.csv", columns)
    main(["data", "import", "nasbench201", str(file)])
    found = store.read_arrays(cache / "nasbench201.npz")
    imported = store.load("nasbench201")
    assert all(a == b for a, b in zip(imported.genotypes(), table.genotypes(), strict=True))
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


REAL_DATA = os.environ.get("NASRUN_DATA", "")  # before the fixture hides it


def test_what_is_not_sound_is_refused_and_nothing_is_written(made, cache, tmp_path, capsys):
    good = made / "nasbench101.npz"
    arrays = store.read_arrays(good)

    def refused(sentence: str, file: Path, benchmark: str = "nasbench101") -> None:
        code, error = fails(capsys, "import", benchmark, file)
        assert code == 2
        assert error.startswith("nasrun: ")
        assert sentence in error
        assert error.count("\n") == 1
        assert not cache.exists()

    refused("no benchmark 'nasbench102': did you mean nasbench101", good, "nasbench102")
    refused("is no table of space=nasbench201: it is a table of space=nasbench101", good,
            "nasbench201")  # fmt: skip
    refused("there is no file", tmp_path / "missing.npz")
    refused("is not a file", tmp_path)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(good.read_bytes()[:-99])
    refused("is not a table, an .npz file of arrays: it has another format, or was cut off", cut)
    cut.rename(tmp_path / "cut.txt")
    refused("its name must end in .npz, .csv, .tfrecord", tmp_path / "cut.txt")
    rows = {name: v[:-1] for name, v in arrays.items() if v.shape[:1] == (made_tables.NUM_101,)}
    refused("it has 199 rows, not 200", changed(good, tmp_path / "a.npz", **rows))
    seconds = arrays["train_seconds"].copy()
    seconds[3] = np.nan
    refused("train_seconds has 1 values that are not finite",
            changed(good, tmp_path / "a.npz", train_seconds=seconds))  # fmt: skip
    better = arrays["test_correct_sum"] + 30
    refused("cifar10 test: ", changed(good, tmp_path / "a.npz", test_correct_sum=better))
    (tmp_path / "a.csv").write_text("adjacency,operations,accuracy\n")
    refused("its header lacks test_accuracy; a CSV file of nasbench101", tmp_path / "a.csv")


def test_a_cache_folder_that_cannot_be_written_is_named(made, tmp_path, capsys, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    code, error = fails(capsys, "import", "nasbench101", made / "nasbench101.npz")
    assert code == 2
    assert "nasbench101.npz cannot be written (Not a directory): XDG_CACHE_HOME=FOLDER" in error


def test_a_table_that_fails_half_way_is_not_there(made, cache, monkeypatch):
    def broken(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(importing.np.lib.format, "write_array", broken)
    with pytest.raises(SystemExit):
        main(["data", "import", "nasbench101", str(made / "nasbench101.npz")])
    assert list(cache.iterdir()) == []


# ---------------------------------------------------------------------------- describe, verify


def test_describe_says_where_tables_are_and_what_is_in_them(made, cache, capsys, monkeypatch):
    monkeypatch.setenv("NASRUN_DATA", str(made))
    main(["data", "describe"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("  ")] == [
        [str(folder / f"{name}.npz"), *state]
        for name in store.benchmarks()
        for there in (["used"] if name in ("nasbench101", "nasbench201") else ["not", "there"],)
        for folder, state in ((made, there), (cache, ["not", "there"]))
    ]  # fmt: skip
    for what in ("nasbench101", made / "nasbench101.npz"):
        main(["data", "describe", str(what)])
        text = capsys.readouterr().out
        assert f"nasbench101: {made / 'nasbench101.npz'}\n  rows      200\n" in text
        assert "cifar10: a search sees the validation accuracy" in text
        assert "values: accuracy, fraction, maximise; trainings behind each: 3\n" in text
        arrays = store.read_arrays(made / "nasbench101.npz")
        best, test = (int(arrays[f"{part}_correct_sum"].argmax()) for part in ("val", "test"))
        table = NasBench101Table(Path("made.npz"), arrays)
        there = arrays["test_correct_sum"][best] / 29_952
        assert f"best validation 95.0554% (test {there:.4%}): {table.text(best)}\n" in text
        assert f"best test 94.3176%: {table.text(test)}\n" in text


def test_verify_finds_a_fault_of_each_kind(made, tmp_path, capsys):
    def verified(file: Path) -> dict[str, tuple[str, str]]:
        with pytest.raises(SystemExit) as caught:
            main(["data", "verify", str(file)])
        assert caught.value.code == 1
        captured = capsys.readouterr()
        words = [line.split(maxsplit=1) for line in captured.out.splitlines()[1:]]
        failed = [text for state, text in words if state == "FAILED"]
        assert f"nasrun: {len(failed)} of {len(words)} checks failed\n" in captured.err
        return failed

    good, bad = made / "nasbench101.npz", tmp_path / "bad.npz"
    main(["data", "verify", str(good)])
    out = capsys.readouterr().out
    assert out.count("\n  ok ") == len(out.splitlines()) - 1 == 5
    assert "200 of 200 rows ascend, 200 are in the space" in out
    arrays = store.read_arrays(good)
    params = arrays["params"].copy()
    params[7] += 1
    (fault,) = verified(changed(good, bad, params=params))
    assert "199 of 200 rows agree with our networks" in fault
    worse = np.minimum(arrays["val_correct_sum"], 28_000)
    (fault,) = verified(changed(good, bad, val_correct_sum=worse))
    assert "cifar10 validation     10.00 to 93.4829 %, published best 95.0554 %" in fault

    # An edge between two vertices on no path leaves the hash as it is.
    num = arrays["n_vertices"].copy()
    small = int(np.flatnonzero(num == 5)[0])
    ops, bits = arrays["ops"].copy(), arrays["adjacency_bits"].copy()
    table = NasBench101Table(good, arrays)
    graph = table.graph(small)
    moved = [(s, 5 if t == 4 else t) for s, t in graph.pairs]
    num[small], ops[small, 3] = 6, 0
    bits[small] = sum(1 << (s + t * (t - 1) // 2) for s, t in moved)
    file = changed(good, bad, n_vertices=num, ops=ops, adjacency_bits=bits)
    (fault,) = verified(file)
    assert "200 of 200 rows ascend, 199 are in the space" in fault

    file = changed(made / "nasbench201.npz", bad, isomorphism_class=np.arange(15_625))
    (fault,) = verified(file)
    assert "6,466, published 6,466; the table groups them otherwise" in fault


def test_verify_takes_all_tables_that_are_there(made, capsys, monkeypatch):
    code, error = fails(capsys, "verify")
    assert (code, "there is no table to verify" in error) == (2, True)
    monkeypatch.setenv("NASRUN_DATA", str(made))
    main(["data", "verify"])
    out = capsys.readouterr().out
    assert [line.partition(":")[0] for line in out.splitlines() if line[0] != " "] == [
        "nasbench101",
        "nasbench201",
    ]
    assert "FAILED" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nasrun data VERB: choose from describe, fetch, import, verify"),
        (["imprt"], "nasrun data imprt: did you mean import?"),
        (
            ["import", "nasbench201"],
            "required: file; usage: nasrun data fetch NAME | import NAME FILE",
        ),
        (["describe", "nasbench20"], "neither a file nor a benchmark 'nasbench20': did you mean"),
        (["verify", "nasbench201"], "there is no table of space=nasbench201 (looked for "),
        (["verify", "."], "neither a file nor a benchmark '.'"),
        (["describe", "text.npz"], "text.npz is not a table, an .npz file of arrays"),
        (["verify", "other.npz"], "other.npz is no table of genes or nasbench101"),
    ],
    ids=str,
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", x_train=np.zeros(3))
    code, error = fails(capsys, *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("benchmark", store.benchmarks().values(), ids=lambda one: one.name)
def test_what_people_are_told_of_files_is_what_is_read(benchmark):
    assert bool(benchmark.csv) == (benchmark.layout is not None or benchmark.describes_columns)
    assert bool(benchmark.official) == bool(benchmark.readers)
    if benchmark.layout is not None:
        groups = [*benchmark.layout.cells, benchmark.layout.needed]
        assert all(name in benchmark.csv for group in groups for name in group)
    for suffix in benchmark.readers:
        assert suffix in benchmark.official or suffix == FOLDER


def test_long_work_says_how_far_it_is(capsys, monkeypatch):
    """Every ten seconds, where no bar can be drawn."""
    now = 0.0
    pace = partial(Pace, clock=lambda: now)
    monkeypatch.setattr(progress, "Pace", pace)
    bar = progress.Bar("verify")
    for done, seconds in enumerate((0.0, 5.0, 12.0, 24.0, 99.0)):
        now = seconds
        bar(done, 4)
    assert capsys.readouterr().err == "nasrun: verify 50%  ETA 0:12\nnasrun: verify 75%  ETA 0:08\n"


def test_a_bar_ends_with_its_work(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    monkeypatch.setattr(console_module, "console", lambda stderr: console)
    assert list(progress.tracked("abc", 3, progress.Bar("verify"))) == ["a", "b", "c"]
    assert "verify" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the bar is wiped away


def test_importing_and_describing_need_no_torch(made, cache):
    for arguments in (["import", "nasbench201", made / "nasbench201.npz"], ["describe"]):
        subprocess.run(
            [sys.executable, "-c", WITHOUT_HEAVY_MODULES, "data", *map(str, arguments)],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
    assert (cache / "nasbench201.npz").is_file()


def test_imagenet16_of_a_whole_file_is_imported_and_described(cache, tmp_path, capsys):
    """A CSV file with all three datasets, as a full NAS-Bench-201 has them."""
    best = {"imagenet16_val_200": 46.77, "imagenet16_test_200": 47.31}
    arrays = made_tables.nasbench201({**made_tables.PUBLISHED, **best})
    columns = {name: array for name, array in arrays.items() if name.endswith("_200")}
    columns["imagenet16_num_trainings_200"] = np.full(15_625, 3.0)
    table = NasBench201Table(tmp_path / "made.npz", arrays)
    file = csv_file("nasbench201", table, tmp_path / "whole.csv", columns)
    main(["data", "import", "nasbench201", str(file)])
    main(["data", "describe", "nasbench201"])
    text = capsys.readouterr().out
    described = text[text.index("imagenet16: a search sees") :]
    assert described.startswith("imagenet16: a search sees the validation accuracy\n")
    assert "maximise; trainings behind each: 3\n" in described
    assert "best validation 46.7700% (test " in described
    found = store.load("nasbench201", None, "imagenet16")
    rows = [found.row(table.genotype(row)) for row in range(0, 15_625, 99)]
    signal_R = found.columns("imagenet16").signal_R
    np.testing.assert_array_equal(signal_R[rows], arrays["imagenet16_val_200"][::99] / 100)

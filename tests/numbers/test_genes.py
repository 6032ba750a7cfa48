"""Tables of genes of a person's own, and the space of nothing but genes."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks import gene_columns, store
from nasrun.benchmarks.benchmark import ColumnOptions
from nasrun.benchmarks.genes import GenesTable
from nasrun.benchmarks.importing import import_table
from nasrun.config import plugins
from nasrun.config.compose import to_typed
from nasrun.config.matching import mismatches
from nasrun.config.schema import SearchConfig
from nasrun.engine.summary import summary
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.genotypes.genes import Coding, Gene
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.graphs.paths import effective_paths
from nasrun.objectives.table import TableColumn
from nasrun.protocols.evaluation import Objective
from nasrun.protocols.result import Result
from nasrun.spaces.genes import Genes
from tests import made_tables
from tests.compose import composed, methods, node

HAND = """depth,op,val,test,ms
2,conv,71.0,70.0,40
1,conv,61.0,60.5,20
1,pool,50.0,50.25,10
2,pool,55.0,56.0,30
"""
SAID = (
    ("val", "unit=percent", "better=higher", "part=validation", "of=mine", "quantity=accuracy"),
    ("test", "unit=percent", "better=higher", "part=test", "of=mine", "quantity=accuracy"),
    ("ms", "unit=ms", "better=lower", "part=test", "trainings=2"),
)
DEEP = Coding((Gene("depth", ("1", "2")), Gene("op", ("conv", "pool"))))


def imported(folder: Path, text: str = HAND, said=SAID, ignored=()) -> GenesTable:
    file, out = folder / "mine.csv", folder / "mine.npz"
    file.write_text(text)
    options = ColumnOptions(tuple(said), tuple(ignored))
    import_table(
        "genes", str(file), force=True, progress=lambda *_: None, out=str(out), options=options
    )
    table = store.load("genes", str(out))
    assert isinstance(table, GenesTable)
    return table


# ---------------------------------------------------------------------------- by hand


def test_a_csv_file_is_read_as_it_stands(tmp_path):
    table = imported(tmp_path)
    assert table.num_rows == 4
    assert table.coding == DEEP
    row = table.row(DEEP.genotype((1, 0)))
    assert (row, table.text(row)) == (0, "depth=2, op=conv")
    assert [table.row(table.genotype(one)) for one in range(4)] == [0, 1, 2, 3]
    mine = table.columns("mine")
    assert mine.validation_R.tolist() == [0.71, 0.61, 0.5, 0.55]
    assert mine.test_R.tolist() == [0.7, 0.605, 0.5025, 0.56]
    assert (mine.signal, mine.trainings) == ("validation accuracy", None)
    assert mine.regret(row) == 0.0
    assert table.costs["ms"].tolist() == [40.0, 20.0, 10.0, 30.0]


def test_values_of_another_unit_are_searched_from_the_worst_to_the_best(tmp_path):
    columns = imported(tmp_path).columns("ms")
    np.testing.assert_allclose(columns.test_R, [0.0, 2 / 3, 1.0, 1 / 3])
    assert (columns.quantity.direction, columns.quantity.unit) == ("minimise", "ms")
    assert columns.quantity.value(float(columns.test_R[1])) == pytest.approx(20.0)
    assert columns.trainings == "2"
    assert columns.signal.startswith("scaled ms on test data")


def test_higher_is_better_in_another_unit_and_a_constant_column_has_one_score(tmp_path):
    said = [("ms", "unit=points", "better=higher", "part=test")]
    table = imported(tmp_path, said=said, ignored=("val", "test"))
    np.testing.assert_allclose(table.columns("ms").test_R, [1.0, 1 / 3, 0.0, 2 / 3])
    assert table.costs == {}
    constant = HAND.replace(",40\n", ",20\n").replace(",10\n", ",20\n").replace(",30\n", ",20\n")
    table = imported(tmp_path, constant, SAID[2:], ("val", "test"))
    assert table.columns("ms").test_R.tolist() == [1.0] * 4


def test_an_error_as_a_fraction_is_1_less_itself(tmp_path):
    said = [("test", "unit=percent", "better=lower", "part=test", "quantity=top1_error")]
    columns = imported(tmp_path, said=said, ignored=("val", "ms")).columns("test")
    np.testing.assert_allclose(columns.test_R, [0.3, 0.395, 0.4975, 0.44])
    assert columns.signal.startswith("1 - top1 error on test data")


def test_genes_are_sorted_as_numbers_or_as_words_and_row_numbers_are_none(tmp_path):
    lines = [f"{row},{a},{b},1" for row, (a, b) in enumerate(itertools.product((16, 8, 0.5), "ba"))]
    said = [("v", "unit=fraction", "better=higher", "part=test")]
    table = imported(tmp_path, "\n".join([",width,op,v", *lines]), said)
    assert table.coding.genes == (Gene("width", ("0.5", "8", "16")), Gene("op", ("a", "b")))


def test_arrays_of_an_npz_file_are_columns_and_the_condensed_form_is_kept(tmp_path):
    path = made_tables.write_genes(tmp_path)
    table = store.load("genes", str(path))
    columns = made_tables.genes()
    for row in range(table.num_rows):
        values = [columns[name][row] for name in ("depth", "width", "op")]
        assert table.text(row) == "depth={}, width={}, op={}".format(*values)
    np.testing.assert_allclose(table.columns("acc").test_R, columns["acc"] / 100)
    again = import_table(
        "genes", str(path), force=True, progress=lambda *_: None, out=str(tmp_path / "b.npz")
    )
    for name, array in store.read_arrays(path).items():
        np.testing.assert_array_equal(store.read_arrays(again)[name], array)


def test_the_number_of_trainings_is_told_of_each_part(tmp_path):
    said = [(*SAID[0], "trainings=1"), (*SAID[1], "trainings=3")]
    table = imported(tmp_path, said=said, ignored=("ms",))
    assert table.columns("mine").trainings == "1 (validation), 3 (test)"


def test_a_table_without_a_test_column_is_judged_by_validation_and_says_so(tmp_path):
    table = imported(tmp_path, said=SAID[:1], ignored=("test", "ms"))
    columns = table.columns("mine")
    assert not columns.has_test
    assert columns.signal == "validation accuracy"
    assert columns.test_R.tolist() == columns.validation_R.tolist() == [0.71, 0.61, 0.5, 0.55]
    config = settings(tmp_path / "mine.npz", "strategy=random", "dataset.name=mine")
    wiring = Wiring(config)
    while not wiring.strategy.finished:
        wiring.strategy.step()
    best = wiring.evaluator.best().genotype
    found = wiring.final(best).table
    assert (found.values.judged_by, found.values.test) == ("validation", 0.71)
    known = {"space": "genes", "dataset": "mine", "seed": 0, "genotype": best}
    text = summary(tmp_path, Result(strategy="random", **known, table=found))
    assert "\nvalidation accuracy 71.00%, percentile 100.0\n" in text
    assert "\ntest" not in text


# ---------------------------------------------------------------------------- mistakes

WITHOUT = ("val", "ms")
TEST = (("test", "unit=percent", "better=higher", "part=test"),)


@pytest.mark.parametrize(
    ("text", "said", "ignored", "sentence"),
    [
        (HAND, (), (), r"columns depth, op, val, test, ms: say which are values"),
        (HAND, (("acc", *TEST[0][1:]),), (), "has no column 'acc'; choose from"),
        (HAND, TEST, ("valu",), "has no column 'valu'; did you mean val"),
        (HAND, (*TEST, *TEST), WITHOUT, "column test is named twice"),
        (HAND, (("test", "better=higher"),), WITHOUT, "--value test lacks unit= and part="),
        (HAND, (("test", "units=percent"),), WITHOUT, "--value test: 'units' is not known"),
        (HAND, (("test", "percent"),), WITHOUT, "--value test: 'percent' is not known"),
        (HAND, ((*TEST[0], "better=up"),), WITHOUT, "better=up: choose from higher"),
        (HAND, ((*TEST[0], "trainings=some"),), WITHOUT, "trainings=some must be a whole number"),
        (HAND, (*TEST, ("val", *TEST[0][1:], "of=test")), ("ms",), "both the test column of test"),
        (HAND, TEST, ("val",), r"12 of 2 x 2 x 4 = 16 combinations of genes have no row, such as "),
        (HAND + "1,conv,1,2,3\n", TEST, WITHOUT, "rows 2 and 5 both have depth=1, op=conv"),
        (
            HAND.replace("2,pool,55.0,56.0,30\n", ""),
            TEST,
            WITHOUT,
            "1 of 2 x 2 = 4 .* op=pool",
        ),
        (HAND.replace("60.5", "nan"), TEST, WITHOUT, "row 2: test must be a number, not 'nan'"),
        (HAND.replace("60.5", ""), TEST, WITHOUT, "row 2: test must be a number, not ''"),
        (HAND.replace("60.5", "160"), TEST, WITHOUT, r"test in percent must be in \[0, 100\]"),
        (HAND.replace("1,pool", "1,"), TEST, WITHOUT, "row 3: the gene op has no value"),
        (HAND.replace("pool", "p:q"), TEST, WITHOUT, "'p:q' cannot be a gene or a value"),
        (HAND.replace("50.0,", ""), TEST, WITHOUT, "row 3: it has 4 fields, and the header 5"),
        (HAND.replace("val", "test"), TEST, ("ms",), "has a column twice"),
        ("depth,test\n", TEST, (), "has no rows below its header"),
        ("test\n1\n", TEST, (), "1 to 190 columns of genes, not 0"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(text, said, ignored, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence) as caught:
        imported(tmp_path, text, said, ignored)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine.npz").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"gene_codes": np.array([[9, 0], [0, 1], [1, 0], [1, 1]])},
            "the gene depth is 0 to 9",
        ),
        (
            {"gene_codes": np.zeros((4, 3), int)},
            "gene_codes must be whole numbers, one for each",
        ),
        ({"gene_sizes": np.array([2, 3])}, "gene_sizes must be 1 or more .* add up to the 4"),
        ({"values": np.full((4, 3), np.nan)}, "values has numbers that are not finite"),
        (
            {"values": np.zeros((4, 2))},
            r"numbers of the shape \(4, 3\), not \(4, 2\)",
        ),
        ({"value_unit": np.array(["ms"])}, "must be lists of one length"),
        ({"value_better": np.array(["up"] * 3)}, "better=up: choose from"),
        ({"gene_names": np.array(["a", "a"])}, "the gene a is there twice"),
        ({"gene_names": np.zeros((2, 2))}, "gene_names, gene_sizes, gene_values must be lists"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(change, sentence, tmp_path):
    imported(tmp_path)
    arrays = {**store.read_arrays(tmp_path / "mine.npz"), **change}
    with pytest.raises(UsageError, match=f"^made.npz: .*{sentence}"):
        GenesTable(Path("made.npz"), arrays)


def test_too_many_combinations_are_refused_before_they_are_counted(tmp_path):
    rows = "\n".join(f"{n},{n},{n},{n},0.5" for n in range(40))
    said = [("v", "unit=fraction", "better=higher", "part=test")]
    with pytest.raises(UsageError, match="2,560,000 combinations of genes; 1,000,000 are possible"):
        imported(tmp_path, f"a,b,c,d,v\n{rows}", said)


def test_arrays_that_are_no_columns_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3), b=np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"one dimension and one length.* b \(3, 2\)"):
        gene_columns.read(path, ColumnOptions(SAID))
    path.write_text("no archive")
    with pytest.raises(UsageError, match=r"is no \.npz file of arrays"):
        gene_columns.read(path, ColumnOptions(SAID))
    with pytest.raises(UsageError, match="the columns of nasbench201 are known"):
        import_table("nasbench201", str(path), force=True, progress=lambda *_: None,
                     options=ColumnOptions(SAID))  # fmt: skip


# ---------------------------------------------------------------------------- the space


def test_a_genotype_has_an_edge_for_each_gene_and_predictors_see_a_path_for_each(tmp_path):
    imported(tmp_path)
    space = Genes(file=str(tmp_path / "mine.npz"))
    genotype = space.decode((1, 0))
    edges = genotype.cell("genes").edges
    assert edges == (
        Edge("depth=2", 0, 1),
        Edge("op=conv", 0, 2),
        Edge("concat", 1, 3),
        Edge("concat", 2, 3),
    )
    assert effective_paths(space.graph(genotype)) == (("depth=2",), ("op=conv",))
    assert space.canonical(genotype) == "depth=2, op=conv"
    assert space.largest() == space.decode((1, 1))
    near = [space.canonical(one) for one in space.neighbours(genotype)]
    assert near == ["depth=1, op=conv", "depth=2, op=pool"]


def test_genes_of_another_table_are_refused(tmp_path):
    imported(tmp_path)
    space = Genes(file=str(tmp_path / "mine.npz"))
    other = Coding((Gene("depth", ("1", "3")), Gene("op", ("conv",)))).genotype((1, 0))
    with pytest.raises(UsageError, match="the gene depth is never '3' in this table"):
        space.encode(other)
    with pytest.raises(UsageError, match="it is of another table"):
        space.encode(Coding((Gene("width", ("1",)),)).genotype((0,)))
    cell = space.decode((0, 0)).cell("genes")
    cut = Genotype("genes", (Cell("genes", cell.nodes, cell.edges[:-1]),))
    with pytest.raises(UsageError, match="a concat from each to the output; this one has others"):
        space.encode(cut)


def test_a_space_without_its_table_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NASRUN_DATA", raising=False)
    with pytest.raises(UsageError, match=r"needs a table, and there is none .* data import genes"):
        Genes(file=None)
    with pytest.raises(UsageError, match=r"space\.file=nowhere\.npz is not there"):
        Genes(file="nowhere.npz")
    np.savez(tmp_path / "other.npz", ops=np.zeros(3))
    with pytest.raises(UsageError, match=r"is no table of genes.* it lacks 'gene_names'"):
        Genes(file=str(tmp_path / "other.npz"))


# ---------------------------------------------------------------------------- in a run


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return made_tables.write_genes(tmp_path_factory.mktemp("genes"))


def settings(file: Path, *overrides: str) -> SearchConfig:
    chosen = ["space=genes", f"space.file={file}", "evaluator=table", "dataset=table_column"]
    config = composed([*chosen, "dataset.name=acc", "budget.evaluations=12", *overrides])
    if config.predictor is not None and "contrast_steps" in config.predictor:
        config.predictor.contrast_steps = 10
    return to_typed(config, SearchConfig)


def discrete() -> list[str]:
    """The strategies that work on single architectures."""
    kinds = {name: plugins.target(node("strategy", name)) for name in methods("strategy")}
    found = [name for name, kind in kinds.items() if not (kind.needs_alphas or kind.needs_weights)]
    return [name for name in found if name != "rank_by_proxy"]  # a table builds no networks to ask


@pytest.mark.parametrize("strategy", discrete())
def test_every_strategy_on_single_architectures_runs_on_genes(strategy, file):
    second = ("objective=table", "objective.column=latency") if strategy == "nsganet" else ()
    config = settings(file, f"strategy={strategy}", *second)
    faults = list(mismatches(config))
    if faults:  # it scores architectures on shared weights
        assert "evaluator" in str(faults[0])
        pytest.skip(str(faults[0]))
    wiring = Wiring(config)
    while not wiring.strategy.finished:
        wiring.strategy.step()
    assert 0 < len(wiring.evaluator) <= 12
    best = wiring.evaluator.best()
    accuracy = made_tables.genes()["acc"] / 100
    row = store.load("genes", str(file)).row(best.genotype)
    assert best.values[0] == pytest.approx(1 - accuracy[row])
    final = wiring.final(best.genotype).table
    assert final.regret == pytest.approx(accuracy.max() - accuracy[row])
    assert final.values.trainings == "3"


def test_a_proxy_is_refused_since_there_are_no_networks(file):
    with pytest.raises(UsageError, match="space=genes builds none"):
        _ = Wiring(settings(file, "strategy=rank_by_proxy")).strategy.step()


def test_a_climb_starts_at_the_last_value_of_each_gene(file):
    wiring = Wiring(settings(file, "strategy=climb_from_largest"))
    wiring.strategy.step()
    (first,) = wiring.evaluator.ledger
    assert wiring.space.canonical(first.genotype) == "depth=4, width=32, op=sep"


def test_what_needs_networks_is_refused(file):
    wiring = Wiring(settings(file, "strategy=nsganet"))
    with pytest.raises(UsageError, match=r"no networks that could be counted.*objective=table"):
        wiring.strategy.step()
    trained = to_typed(
        composed(["space=genes", "strategy=random", "evaluator=train", "dataset=digits"]),
        SearchConfig,
    )
    (fault,) = mismatches(trained)
    assert fault.startswith("evaluator=train trains networks, and space=genes has none")
    with pytest.raises(UsageError, match="space=genes has no networks, and nothing of it can be"):
        Wiring(settings(file, "strategy=random", "retrain=smoke", "dataset=digits"))


def test_a_column_of_a_table_of_genes_is_an_objective_in_its_unit(file):
    space = Genes(file=str(file))
    measure = TableColumn(SimpleNamespace(space=space), column="latency", file=None)
    assert measure.objective == Objective("latency", "ms")
    assert measure.measure(space.largest()) == 4 * 32
    with pytest.raises(UsageError, match=r"objective\.column=latencies .* did you mean latency"):
        TableColumn(SimpleNamespace(space=space), column="latencies", file=None)

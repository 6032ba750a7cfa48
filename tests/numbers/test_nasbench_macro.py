"""NAS-Bench-Macro: its networks, its classes, and its table from the official kind of file."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.benchmarks import csv_files, nasbench_macro, store
from nasrun.benchmarks.importing import import_table
from nasrun.benchmarks.nasbench_macro import NasBenchMacroTable
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench_macro import canonical_digits, nasbench_macro_text, parse
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize, as_module
from nasrun.spaces.integer_coded import IntegerCodedSpace
from nasrun.spaces.nasbench_macro import NasBenchMacro

SPACE = NasBenchMacro(channels=32)
CIFAR = TaskShape(3, (32, 32), 10)
# From the file of the authors: digits, parameters, multiply-adds.
PUBLISHED = (
    ("02012100", 890_666, 47_327_744),
    ("11111221", 2_181_386, 65_012_224),
    ("00011110", 1_118_378, 31_390_208),
    ("22212220", 1_985_514, 85_164_544),
)


def no_progress(done: int, total: int, **figures: float) -> None: ...


@pytest.mark.parametrize(("text", "params", "flops"), PUBLISHED)
def test_networks_have_the_published_sizes_by_formula_and_as_built(text, params, flops):
    genotype = parse(text)
    assert SPACE.params_and_flops(genotype, CIFAR, NetworkSize()) == (params, flops)
    built = IntegerCodedSpace.params_and_flops(SPACE, genotype, CIFAR, NetworkSize())
    assert built == (params, flops)


def test_the_formula_counts_odd_shapes_and_other_widths_as_built():
    for shape, channels in ((TaskShape(1, (9, 13), 4), 8), (TaskShape(2, (8, 8), 3), 5)):
        size, genotype = NetworkSize(channels=channels), parse("02110020")
        counted = SPACE.params_and_flops(genotype, shape, size)
        assert counted == IntegerCodedSpace.params_and_flops(SPACE, genotype, shape, size)


def test_identities_inside_a_stage_do_nothing_wherever_they_are():
    texts = ["10" + "012" + "010", "10" + "012" + "001"]
    assert SPACE.canonical(parse(texts[0])) == SPACE.canonical(parse(texts[1])) == "10012010"
    graphs = [SPACE.graph(parse(text)) for text in texts]
    assert graphs[0].labels == graphs[1].labels
    assert graphs[0].labels[1:3] == ("block1:mb3_k3", "block2:identity")
    classes = {canonical_digits(digits) for digits in itertools.product(range(3), repeat=8)}
    assert len(classes) == 9 * 21 * 21 == nasbench_macro.NUM_CLASSES
    outputs = []
    for text in texts:
        torch.manual_seed(0)
        network = as_module(SPACE.network(parse(text), CIFAR, NetworkSize(channels=4))).eval()
        outputs.append(network(torch.ones(1, 3, 32, 32)))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("text", ["0000000", "00000003", "digits!!", "000000000"])
def test_other_texts_are_no_networks(text):
    with pytest.raises(UsageError, match="no network of NAS-Bench-Macro: 8 digits, each 0 to 2"):
        parse(text)


def test_another_chain_is_refused():
    cell = parse("00000000").cells[0]
    short = Genotype("nasbench_macro", (type(cell)("network", cell.nodes, cell.edges[:-1]),))
    with pytest.raises(UsageError, match="a chain of 8 edges"):
        SPACE.validate(short)


# ---------------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def content():
    """A file as the official one: three trainings, networks that compute the same alike."""
    rng, made = np.random.default_rng(0), {}
    found = {}
    for digits in rng.permutation(list(itertools.product("012", repeat=8))):
        text = "".join(digits)
        genotype = parse(text)
        key = SPACE.canonical(genotype)
        accuracies = made.setdefault(key, rng.uniform(80.0, 93.0, 3).tolist())
        params, flops = SPACE.params_and_flops(genotype, CIFAR, NetworkSize())
        found[text] = {"test_acc": accuracies, "mean_acc": 0, "params": params, "flops": flops}
    return found


def test_the_official_file_is_imported_and_every_value_is_the_mean_of_its_trainings(
    content, tmp_path
):
    file, out = tmp_path / "nas-bench-macro_cifar10.json", tmp_path / "table.npz"
    file.write_text(json.dumps(content))
    import_table("nasbench_macro", str(file), force=False, progress=no_progress, out=str(out))
    table = store.load("nasbench_macro", str(out))
    columns = table.columns("cifar10")
    assert (columns.validation_R, columns.trainings) == (None, "3")
    assert columns.signal == "mean test accuracy (the table has no validation column)"
    for text, figures in itertools.islice(content.items(), 200):
        row = table.row(parse(text))
        assert nasbench_macro_text(table.genotype(row)) == table.text(row) == text
        assert columns.test_R[row] == pytest.approx(sum(figures["test_acc"]) / 300)
    again = tmp_path / "table.csv"
    lines = [f"{table.text(row)},{100 * columns.test_R[row]:.6f}" for row in range(table.num_rows)]
    again.write_text("\n".join(["arch,cifar10_test_50", *lines]))
    found = csv_files.read(store.benchmarks()["nasbench_macro"], again, no_progress)
    np.testing.assert_array_equal(found["blocks"], store.read_arrays(out)["blocks"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda it: {**it, "22222223": it["22222222"]}, "'22222223' is no network"),
        (lambda it: {**it, "22222222": {"params": 3}}, "the network 22222222 must have test_acc"),
        (lambda it: {**it, "22222222": {**it["22222222"], "test_acc": []}}, "not finite"),
        (lambda it: {**it, "22222222": {**it["22222222"], "params": 3}}, "params: 6,560 of 6,561"),
        (lambda it: dict(list(it.items())[1:]), "6560 rows, not 6561"),
        (lambda it: [it], "no file of NAS-Bench-Macro"),
        (
            lambda it: {**it, "10001000": {**it["10001000"], "test_acc": [1.0]}},
            "classes: 3,969, by the rule 3,969; some differ within a class",
        ),
    ],
)
def test_an_official_file_with_a_fault_is_refused(content, change, sentence, tmp_path):
    file, out = tmp_path / "a.json", tmp_path / "table.npz"
    file.write_text(json.dumps(change(content)))
    with pytest.raises(UsageError, match=sentence):
        import_table("nasbench_macro", str(file), force=False, progress=no_progress, out=str(out))
    assert not out.exists()


def test_what_is_no_json_is_refused(tmp_path):
    file = tmp_path / "a.json"
    for text in ("{", "[" * 100_000, "NaN"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"is no (JSON file|file of NAS-Bench-Macro)"):
            nasbench_macro._read_official(file, no_progress)


def test_a_table_with_a_network_twice_is_refused():
    blocks_RN = np.array(list(itertools.product(range(3), repeat=8)))
    blocks_RN[0] = blocks_RN[1]
    arrays = {"blocks": blocks_RN, "cifar10_test_50": np.full(6_561, 90.0)}
    with pytest.raises(UsageError, match="1 of the 6561 networks are there twice"):
        NasBenchMacroTable(Path("made.npz"), arrays)


def test_the_real_file_where_it_is_there():
    path = Path(os.environ.get("NASRUN_DATA", "nowhere")) / "nasbench_macro.npz"
    if not path.is_file():
        pytest.skip("there is no nasbench_macro.npz in NASRUN_DATA")
    columns = store.load("nasbench_macro", str(path)).columns("cifar10")
    assert columns.optimum == pytest.approx(0.931267, abs=5e-7)

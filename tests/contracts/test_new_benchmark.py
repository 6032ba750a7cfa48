"""A benchmark is one module and one YAML: with these two files every command knows a third one."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nasrun
from nasrun.config.catalogue import conf_dir

MODULE = '''"""The toy space, of which a made table knows everything."""

from collections.abc import Iterator, Sequence

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark, Layout
from nasrun.benchmarks.checks import Best
from nasrun.benchmarks.table import Arrays, Columns, Table
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.state import Progress
from nasrun.spaces.toy import Toy

TOY = Toy()


class ShelfTable(Table):
    """Accuracies of the 64 chains, in percent."""

    space = "toy"
    num_rows = 64
    has_copies = False
    required = ("genes", "shelf_val")
    numbers = {"shelf_val": 100.0, "shelf_test": 100.0}

    def problems(self, arrays: Arrays) -> Iterator[str]:
        if len({tuple(genes) for genes in arrays["genes"].tolist()}) < self.num_rows:
            yield "chains are there twice"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self._genes = [tuple(genes) for genes in arrays["genes"].tolist()]
        return {"digits": Columns(arrays["shelf_val"] / 100, arrays["shelf_test"] / 100, None)}

    def row(self, genotype: Genotype) -> int:
        return self._genes.index(TOY.encode(genotype))

    def genotype(self, row: int) -> Genotype:
        return TOY.decode(self._genes[row])

    def text(self, row: int) -> str:
        return TOY.canonical(self.genotype(row))


def parse(words: Sequence[str]) -> list[int]:
    return ["abcd".index(letter) for letter in words[0]]


def condense(cells: list[list[int]], columns: dict[str, np.ndarray], progress: Progress) -> Arrays:
    return {"genes": np.array(cells), **columns}


class ShelfBenchmark(Benchmark):
    """What is known of it."""

    table = ShelfTable
    layout = Layout((("chain",),), ShelfTable.numbers, ("shelf_val", "shelf_test"), parse, condense)
    best = {"digits": Best(82.0, 92.0, 1)}
'''
YAML = """# The shelf: 64 chains of the toy space, made for a test
_target_: nasrun.benchmarks.shelf.ShelfBenchmark

csv: chain (three letters), shelf_val and shelf_test (percent)
"""
CHAINS = ["".join(letters) for letters in itertools.product("abcd", repeat=3)]
VALIDATION = {chain: 19.0 + row for row, chain in enumerate(CHAINS)}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the package and of conf/, with two files more."""
    folder = tmp_path_factory.mktemp("tree")
    hidden = shutil.ignore_patterns("__pycache__", "conf")
    shutil.copytree(Path(nasrun.__file__).parent, folder / "nasrun", ignore=hidden)
    shutil.copytree(conf_dir(), folder / "conf")
    (folder / "nasrun" / "benchmarks" / "shelf.py").write_text(MODULE)
    (folder / "conf" / "benchmark" / "shelf.yaml").write_text(YAML)
    lines = [f"{chain},{value},{value + 10}" for chain, value in VALIDATION.items()]
    text = "\n".join(["chain,shelf_val,shelf_test", *lines])
    (folder / "shelf.csv").write_text(text)
    (folder / "worse.csv").write_text(text.replace("ddd,82.0", "ddd,80.0"))
    return folder


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(tree / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "NASRUN_DATA"}
    command = [sys.executable, "-m", "nasrun", *arguments]
    return subprocess.run(
        command, cwd=tree, env=environment | places, capture_output=True, text=True, check=False
    )


def told(tree: Path, *arguments: str) -> str:
    finished = run(tree, *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_it_is_listed_explained_imported_described_verified_and_searched(tree: Path) -> None:
    assert re.search("  shelf +The shelf: 64 chains", told(tree, "list", "benchmarks"))
    assert "A CSV file of shelf has the columns chain (three" in told(tree, "data", "--help")
    refused = run(tree, "data", "import", "shelf", "worse.csv")
    assert refused.returncode == 2
    assert "digits validation: 19.00 to 81.0 %, published best 82.0 %" in refused.stderr
    kept = tree / "cache" / "nasrun" / "tables" / "shelf.npz"
    assert not kept.exists()

    assert told(tree, "data", "import", "shelf", "shelf.csv") == f"imported: {kept}\n"
    description = told(tree, "data", "describe", str(kept))
    assert f"shelf: {kept}\n  rows      64\n" in description
    assert "best validation 82.0000% (test 92.0000%): ddd\n" in description
    verified = told(tree, "data", "verify").splitlines()
    assert [line.split()[0] for line in verified] == ["shelf:", "ok", "ok", "ok"]

    words = [
        "space=toy",
        "strategy=random",
        "evaluator=table",
        "budget.evaluations=12",
        "dataset=digits",
    ]
    told(tree, "search", *words, "hydra.run.dir=run", "device=cpu")
    result = json.loads((tree / "run" / "result.json").read_text())
    chain = "".join(edge[0] for edge in result["genotype"]["cells"]["cell"]["edges"])
    assert result["evaluations"] == 12
    assert result["table"]["file"] == str(kept)
    assert result["table"]["val_accuracy"] == pytest.approx(VALIDATION[chain] / 100)
    assert result["table"]["test_accuracy"] == pytest.approx(VALIDATION[chain] / 100 + 0.1)
    assert result["table"]["regret"] == pytest.approx(0.82 - VALIDATION[chain] / 100)

"""The tutorial that adds a strategy, followed to the letter in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nasrun
from nasrun.config.catalogue import conf_dir
from nasrun.genotypes.genotype import Genotype
from nasrun.spaces.nasbench201 import NasBench201
from tests.documents.pages import FILE
from tests.documents.test_documents import ROOT, blocks, commands, ends_of_sweep

PAGE = ROOT / "docs" / "tutorials" / "add-a-strategy.md"
COMMANDS = [words for text in blocks(PAGE, "sh") for words in commands(text)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of conf/, and the files of the page."""
    folder = tmp_path_factory.mktemp("clone")
    hidden = shutil.ignore_patterns("__pycache__", "conf")
    shutil.copytree(Path(nasrun.__file__).parent, folder / "nasrun", ignore=hidden)
    shutil.copytree(ROOT / "hydra_plugins", folder / "hydra_plugins", ignore=hidden)
    shutil.copytree(conf_dir(), folder / "conf")
    files = FILE.findall(PAGE.read_text())
    assert [Path(path).suffix for path, _ in files] == [".py", ".yaml"]
    for path, text in files:  # they are there already where somebody has followed the page
        (folder / path).write_text(text)
    return folder


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nasrun", *arguments]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


def test_the_search_of_the_page_is_a_one_plus_one_evolution(tree: Path) -> None:
    """The one that is told, replayed from its labels: each child is a neighbour of the best."""
    verb, words = next(words for words in COMMANDS if words[0] == "search")
    finished = run(tree, verb, *words, "hydra.run.dir=run", "device=cpu")
    assert finished.returncode == 0, finished.stderr
    result = json.loads((tree / "run" / "result.json").read_text())
    assert (result["strategy"], result["evaluations"]) == ("one_plus_one", 10)

    lines = (tree / "run" / "evaluations.jsonl").read_text().splitlines()
    labels = [
        (Genotype.from_json(line["genotype"]), line["values"][0]) for line in map(json.loads, lines)
    ]
    space = NasBench201(channels=8, cells=1, partial_channels=1)
    parent, error = min(labels[:5], key=lambda label: label[1])
    for child, its_error in labels[5:]:
        assert child in space.neighbours(parent)
        if its_error <= error:
            parent, error = child, its_error
    assert result["genotype"] == parent.to_json()
    assert result["search_val_accuracy"] == pytest.approx(1 - error)


def test_it_is_listed_and_a_mistake_is_told_as_the_page_says(tree: Path) -> None:
    assert "  one_plus_one " in run(tree, "list", "strategies").stdout
    page = PAGE.read_text()
    mistake = re.search(r"`nasrun (.+)` says:\n\n```text\n(.+)\n```", page)
    assert mistake is not None
    refused = run(tree, *shlex.split(mistake[1]))
    assert (refused.returncode, refused.stderr.strip()) == (2, mistake[2])


def test_the_other_commands_of_the_page_compose(tree: Path) -> None:
    (_, words) = COMMANDS[-1]
    assert "-m" in words
    for job in ends_of_sweep([word for word in words if word != "-m"]):
        composed = run(tree, "search", "--cfg", "job", *job)
        assert composed.returncode == 0, composed.stderr

"""The tutorial "a strategy from outside", followed to the letter in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.documents.pages import run, write_files
from tests.documents.test_documents import ROOT, blocks, commands

PAGE = ROOT / "docs" / "tutorials" / "a-strategy-from-outside.md"
COMMANDS = [words for text in blocks(PAGE, "sh") for words in commands(text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(PAGE, tmp_path_factory.mktemp("mine"))


def test_it_is_listed_explained_and_run_and_asked_for_again(folder: Path) -> None:
    listed, explained, searched = COMMANDS
    assert "  random_walk " in run(folder, "nasrun", listed[0], *listed[1]).stdout
    told = run(folder, "nasrun", explained[0], *explained[1]).stdout
    assert "labels until the walk begins anew" in told
    finished = run(folder, "nasrun", searched[0], *searched[1], "device=cpu")
    assert finished.returncode == 0, finished.stderr
    (record,) = folder.glob("outputs/*/*/run.json")
    assert list(json.loads(record.read_text())["plugins"]) == ["my_module"]
    result = json.loads((record.parent / "result.json").read_text())
    assert (result["strategy"], result["evaluations"]) == ("random_walk", 8)
    refused = run(folder, "nasrun", "search", "--from", "last")
    said = re.search(r"^nasrun: FOLDER was made .*$", PAGE.read_text(), re.MULTILINE)
    assert said is not None
    where = str(record.parent.relative_to(folder))
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == said[0].replace("FOLDER", where)


def test_the_contract_of_the_page_is_kept(folder: Path) -> None:
    done = run(folder, "pytest", "-q", "-p", "no:cacheprovider", "test_my_module.py")
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout

"""Input is checked where it is read, and nothing that comes in a file is executed."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from nasrun.compute import memory
from nasrun.config.checks import all_faults
from nasrun.config.compose import to_typed
from nasrun.config.schema import SearchConfig
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Cell, Edge, Genotype
from nasrun.genotypes.text import parse
from nasrun.pictures import cells as drawing
from nasrun.storage import npz_file
from nasrun.terminal import console, progress
from tests.commands.refusal import refused
from tests.compose import composed

# -- configurations


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        (
            ["seed=abc", "budget.epochs=x", "space=nasbench201", "compile=maybe"],
            ["seed=abc is not a whole number", "budget.epochs=x is not a whole number",
             "compile=maybe: Value 'maybe' is not a valid bool (type str)"],
        ),
        (
            ["seed=-1", "space.channels=15", "space.partial_channels=4", "device=gpu",
             "dataset=synthetic", "dataset.batch_size=0", "strategy.xi=far"],
            ["seed=-1 must be at least 0", "device=gpu must be auto",
             "dataset.batch_size=0 must be at least 2", "space.channels=15 cannot be divided",
             "strategy.xi=far must be a number"],
        ),
        (
            ["retrain.epochs=1.5", "strategy.sigma=-1", "strategy.warmup=2", "space.cells=many"],
            ["retrain.epochs=1.5 is not a whole number", "space.cells=many must be a whole number",
             "strategy.warmup=2 must be in [0, 1)", "strategy.sigma=-1 must be above 0"],
        ),
    ],
    ids=["types", "ranges", "both"],
)  # fmt: skip
def test_all_faults_in_one_message(
    overrides: list[str], problems: list[str], tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *lines = refused(capsys, "search", *overrides).splitlines()
    assert first == f"nasrun: {len(problems)} problems:"
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"- {problem}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"space={'x' * 5_000}", "xxx... cannot be used: File name too long"),
        (f"hydra.run.dir={'x' * 300}", "xxx... cannot be used: File name too long"),
        ("hydra.run.dir=file", "file cannot be used: File exists"),
        ("hydra.run.dir=file/x", "x cannot be used: Not a directory"),
    ],
    ids=range(4),
)
def test_paths_that_cannot_be(override: str, message: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    assert message in refused(capsys, "search", override)


# -- sizes


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["population.size=1000000000"], "population.size=1,000,000,000 is too large: it can be at "
         "most 10,000"),
        (["space.channels=1000000"], "space.channels=1,000,000 is too large: it can be at most "
         "4,096"),
        (["space.cells=10000000"], "space.cells=10,000,000 is too large: it can be at most 100"),
        (["dataset.batch_size=1000000"], "dataset.batch_size=1,000,000 is too large: it can be at "
         "most 100,000"),
        (["strategy.num_starts=-1000000000000"], "strategy.num_starts=-1,000,000,000,000 is too "
         "large: it can be at most 1,000,000"),
        (["budget.evaluations=1000000000"], "budget.evaluations=1,000,000,000 is too large: "
         "it can be at most 1,000,000"),
        (["retrain.cells=101"], "retrain.cells=101 is too large: it can be at most 100"),
        (["predictor=dcl", "predictor.encoder_widths=[8,100000]"],
         "predictor.encoder_widths=100,000 is too large: it can be at most 10,000"),
        (["predictor=gaussian_process", "predictor.noises=[nan]"],
         "predictor.noises=nan is not a finite number"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_numbers_that_would_take_the_machine_down(overrides: list[str], sentence: str) -> None:
    assert set(all_faults(to_typed(composed(overrides), SearchConfig))) == {sentence}


def test_networks_and_images_must_fit_into_memory(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6)
    quick = ["search", "dataset=synthetic", "dataset.size=8"]
    error = refused(capsys, *quick, "dataset.num_train=8000")
    assert "dataset.num_train=8000 and dataset.size=8 would take 0.0 GB of memory" in error
    few = ["dataset.num_train=16", "dataset.num_test=16", "space.channels=256", "space.cells=3"]
    error = refused(capsys, *quick, *few)
    assert "a network of this size (space.channels, space.cells)" in error
    assert list(tmp_path.iterdir()) == []


def write_npz(path: Path, header: bytes, numbers: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header + numbers)


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def test_a_header_that_claims_100_gigabytes(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", header((10**11,)))
    with pytest.raises(ValueError, match="claims 100,000,000,000 bytes, which are not there"):
        npz_file.read_all(tmp_path / "x.npz")


def test_an_archive_that_is_larger_than_memory(tmp_path: Path, monkeypatch) -> None:
    write_npz(tmp_path / "x.npz", header((10**6,)), bytes(10**6))
    assert (tmp_path / "x.npz").stat().st_size < 2_000
    assert npz_file.read_all(tmp_path / "x.npz")["x_train"].shape == (10**6,)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6)
    with pytest.raises(ValueError, match="of memory, and this machine has"):
        npz_file.read_all(tmp_path / "x.npz")


def cells(content: Any) -> str:
    return json.dumps({"space": "x", "cells": content})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cells({"c": {"nodes": ["a"] * 201, "edges": []}}),
         "cell 'c' has 201 nodes and 0 edges; at most 200 and 2,000 are possible"),
        (cells({"c": {"nodes": ["a", "b"], "edges": [["x", 0, 1]] * 2001}}),
         "cell 'c' has 2 nodes and 2,001 edges"),
        (cells({f"{i}": {"nodes": [], "edges": []} for i in range(101)}), "at most 100 cells"),
        (cells({"c" * 101: {"nodes": [], "edges": []}}), "a name of more than 100 letters"),
        ('{"space": "x", "cells": ' + "9" * 5_000 + "}", "is not valid JSON"),
        ('{"a":' * 10_000, "is not valid JSON"),
    ],
    ids=range(6),
)  # fmt: skip
def test_genotypes_have_sizes(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


# -- what people see


def test_control_characters_do_not_act(capsys) -> None:
    console.say("a\x1b[2Jb\r\u202ec\nd\te")
    console.complain("a\x1b[31mb")
    said = capsys.readouterr()
    assert said.out == "a?[2Jb??c\nd       e\n"
    assert said.err == "nasrun: a?[31mb\n"


def test_a_long_sentence_loses_its_middle(capsys) -> None:
    console.complain("a" * 5_000 + "b")
    error = capsys.readouterr().err
    assert len(error) < 830
    assert error.endswith("aab\n")


def test_markup_does_not_act(monkeypatch) -> None:
    screen = io.StringIO()
    drawn = Console(file=screen, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(console, "console", lambda stderr=False: drawn)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    evil = "[red]x[/nope]\x1b[2J"
    console.table(evil, [evil], [[evil]])
    console.listing({evil: [(evil, evil)]})
    progress.Display().message(evil)
    assert screen.getvalue().count("[red]x[/nope]?[2J") == 7
    assert "\x1b[2J" not in screen.getvalue()


def test_pictures_escape_names(tmp_path: Path) -> None:
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "--><svg onload=x>")
    cell = Cell(names[0], (names[1], "]]>"), (Edge(names[2], 0, 1),))
    drawing.draw(Genotype(names[0], (cell,)), tmp_path / "x.svg")
    elements = list(ElementTree.parse(tmp_path / "x.svg").iter())
    assert not [e for e in elements if e.tag.rpartition("}")[2] in ("script", "img", "image")]
    assert not [key for e in elements for key in e.attrib if key.startswith("on")]
    assert names[0] in [e.text for e in elements]  # shown as a text

"""TAB completion: the candidates, and the function that bash calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nasrun.cli.completion import candidates
from nasrun.cli.main import main
from nasrun.config import catalogue

REPOSITORY = Path(__file__).parents[2]
FILES = {
    "search.yaml": "defaults:\n  - space: darts\n  - fitness: paper\nseed: 0\ncompile: false\n",
    "space/darts.yaml": "cells: 8\nnested:\n  depth: 1\n  down: 2\n",
    "space/toy.yaml": "curvature: 1.0\n",
    "benchmark/nasbench101.yaml": "official: x\n",
    "benchmark/nasbench201.yaml": "official: x\n",
    "fitness/paper.yaml": "zeta: 1.0\neta: 0.4\n",
    "fitness/centred.yaml": "zeta: 1.0\neta: 0.4\n",
}


@pytest.fixture(autouse=True)
def _where_there_are_no_runs(tmp_path_factory, monkeypatch) -> None:
    """TAB offers the runs of the current folder too."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "nasrun ",
            [
                "search ",
                "retrain ",
                "check ",
                "resume ",
                "report ",
                "show ",
                "predict ",
                "evaluate ",
                "export ",
                "compress ",
                "family ",
                "data ",
                "explain ",
                "list ",
            ],
        ),
        ("nasrun se", ["search "]),
        ("nasrun --v", ["--version "]),
        ("nasrun unknown ", []),
        ("nasrun search f", ["fitness=", "fitness."]),
        ("nasrun check f", ["fitness=", "fitness."]),
        ("nasrun search space=", ["space=darts ", "space=toy "]),
        ("nasrun search seed=1 space=t", ["space=toy "]),
        ("nasrun search fitness.ze", ["fitness.zeta="]),
        ("nasrun search space.", ["space.cells=", "space.nested."]),
        ("nasrun search space.nested.d", ["space.nested.depth=", "space.nested.down="]),
        ("nasrun search space=toy space.", ["space.curvature="]),
        ("nasrun search compile=", ["compile=true ", "compile=false "]),
        ("nasrun search fitness.zeta=", []),
        ("nasrun search -m fitness=", ["fitness=centred", "fitness=paper"]),
        ("nasrun search -m fitness=paper,", ["fitness=paper,centred"]),
        ("nasrun search fitness=paper,", []),
        ("nasrun search --mu", ["--multirun "]),
        ("nasrun search --cfg ", ["job ", "hydra ", "all "]),
        ("nasrun list s", ["space "]),
        ("nasrun show --o", ["--out "]),
        ("nasrun report sweep --b", ["--by "]),
        ("nasrun predict ", []),  # bash offers files
        ("nasrun show darts_v", ["darts_v1 ", "darts_v2 "]),
        ("nasrun data ", ["fetch ", "import ", "describe ", "verify "]),
        ("nasrun data im", ["import "]),
        ("nasrun data import ", ["nasbench101 ", "nasbench201 ", "imagenet16 "]),
        ("nasrun data import nasbench201 ", []),  # bash offers files
        ("nasrun data import nasbench201 x.npz --f", ["--force "]),
    ],
    ids=str,
)
def test_candidates(line: str, expected: list[str], root: Path) -> None:
    assert candidates(line, root) == expected


def test_folders_after_from(root: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("outputs/day/run", "outputs/.hidden", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outputs/day/run/run.json").write_text("{}")
    (tmp_path / "outputs/file").write_text("")
    assert candidates("nasrun search --fr", root) == ["--from "]
    assert candidates("nasrun search --from o", root) == ["other/", "outputs/"]
    assert candidates("nasrun search --from outputs/", root) == ["outputs/day/"]
    assert candidates("nasrun search --from outputs/day/r", root) == ["outputs/day/run "]
    assert candidates("nasrun search --from nowhere/", root) == []


def test_words_that_a_key_can_be() -> None:
    root = catalogue.conf_dir()
    assert candidates("nasrun search strategy.statistics=", root) == [
        "strategy.statistics=batch ", "strategy.statistics=running "]  # fmt: skip
    assert candidates("nasrun search metric=m", root) == ["metric=macro_f1 "]
    assert candidates("nasrun search metric=n", root) == ["metric=null "]
    assert candidates("nasrun search sweep.on_error=s", root) == ["sweep.on_error=stop "]


def test_unknown_shell_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["-sc", "install=tcsh"])
    assert caught.value.code == 2
    assert 'eval "$(nasrun -sc install=bash)"' in capsys.readouterr().err


def complete_in_bash(line: str, words: list[str], program: Path) -> list[str]:
    """COMPREPLY after a TAB at the end of `line`, which readline has split into `words`."""
    script = f"""
        eval "$(nasrun -sc install=bash)"
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(words) - 1}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        _nasrun_completion nasrun
        printf '<%s>\\n' "${{COMPREPLY[@]}}"
    """
    environment = dict(os.environ, PATH=f"{program.parent}:{os.environ['PATH']}")
    environment["PYTHONPATH"] = str(REPOSITORY)
    finished = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert finished.stderr == ""
    return finished.stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "words", "expected"),
    [
        ("nasrun se", ["nasrun", "se"], ["<search >"]),
        # Readline breaks words at "=", so only what follows it is replaced.
        ("nasrun search dataset=dig", ["nasrun", "search", "dataset", "=", "dig"], ["<digits >"]),
        ("nasrun search -m dataset=dig", ["nasrun", "search", "-m", "dataset", "=", "dig"],
         ["<digits>"]),
        ("nasrun search fitness.ze", ["nasrun", "search", "fitness.ze"], ["<fitness.zeta=>"]),
    ],
    ids=str,
)  # fmt: skip
def test_in_bash(line: str, words: list[str], expected: list[str], tmp_path: Path) -> None:
    program = tmp_path / "nasrun"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nasrun "$@"\n')
    program.chmod(0o755)
    assert complete_in_bash(line, words, program) == expected

"""`nasrun show`: from a run folder, a file or a text, to the terminal and to pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nasrun.cli.main import main
from nasrun.genotypes.published import published_cells
from nasrun.genotypes.source import resolve
from nasrun.genotypes.text import parse
from nasrun.protocols.result import Result, Retrained

TEXT = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "genotype.json").write_text(json.dumps(parse(TEXT).to_json()))
    return tmp_path


def test_sources_agree(run_folder: Path) -> None:
    file = run_folder / "cell.txt"
    file.write_text(f"{TEXT}\n")
    assert resolve(TEXT) == resolve(str(file)) == resolve(str(run_folder)) == parse(TEXT)


def test_show_text(capsys) -> None:
    main(["show", TEXT])
    assert capsys.readouterr().out.splitlines() == [
        "cell",
        "  in ── conv 3x3 ────────▶ 1",
        "  in ── skip ──────────┬─▶ 2",
        "  1  ── none ──────────┘",
        "  in ── avg pool 3x3 ──┬─▶ out",
        "  1  ── none ──────────┤",
        "  2  ── conv 1x1 ──────┘",
        "",
        f"space nasbench201, id {parse(TEXT).short_id}",
    ]


def test_show_run_with_accuracies_and_picture(run_folder: Path, capsys) -> None:
    result = Result(
        space="darts", dataset="digits", seed=0, genotype=published_cells()["darts_v2"].genotype,
        search_val_accuracy=0.5,
        retrain=Retrained(
            epochs=1, val_accuracy=None, test_accuracy=0.98764, macro_f1=0.9, params=1, flops=1
        ),
    )  # fmt: skip
    (run_folder / "result.json").write_text(json.dumps(result.to_json()))
    main(["show", str(run_folder), "--out", str(run_folder / "x.svg")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "search validation accuracy: 50.00 %",
        "retrained, test accuracy: 98.76 %",
        f"picture: {run_folder / 'x.svg'}",
    ]
    assert (run_folder / "x.svg").read_text().startswith("<?xml")


def test_show_needs_neither_torch_nor_matplotlib(run_folder: Path) -> None:
    script = (
        "import sys; sys.modules.update(torch=None, hydra=None, matplotlib=None)\n"
        "from nasrun.cli.main import main; main(sys.argv[1:])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, "show", str(run_folder)],
        capture_output=True,
        cwd=REPOSITORY,
        check=True,
    )
    assert "conv 3x3" in finished.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: genotype; usage: nasrun show GENOTYPE"),
        (["no/such/file"], "there is no run folder, file or published genotype 'no/such/file'"),
        (["x" * 5000], "there is no run folder, file or published genotype 'xxx"),
        (["."], "holds no genotype.json: it is not a run that found a genotype"),
        (["bad.json"], "bad.json: the genotype is not valid JSON"),
        (["|none~0|"], "a NAS-Bench-201 string has three nodes"),
        (["Genotype(normal=__import__('os').abort())"], "this genotype is not understood"),
        ([TEXT, "--out", "x.pdf"], "x.pdf cannot be drawn: the file name ends in .svg or .png"),
        ([TEXT, "--out", "nowhere/x.svg"], "nowhere/x.svg cannot be drawn: there is no folder"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SystemExit) as caught:
        main(["show", *arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("nasrun: ")
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_result_is_named(content: str, run_folder: Path, capsys) -> None:
    (run_folder / "result.json").write_text(content)
    with pytest.raises(SystemExit) as caught:
        main(["show", str(run_folder)])
    assert caught.value.code == 2
    assert "result.json" in capsys.readouterr().err

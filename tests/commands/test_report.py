"""`nasrun report`: every format, damaged and hostile folders, mistakes, nothing heavy imported."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nasrun.cli.main import main
from tests.made_runs import make_grid, make_run

REPOSITORY = Path(__file__).parents[2]
GRID = {(1.0, 0.4): [0.90, 0.92], (1.0, 0.2): [0.80, 0.84], (0.4, 0.4): [0.7, 0.7],
        (0.4, 0.2): [0.5, 0.6]}  # fmt: skip


class Page(HTMLParser):
    """The tags of a page with their attributes, and the texts of its table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "td":
            self.cells.append("")
        self._inside = self._inside or tag == "td"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def run_report(*arguments: str | Path) -> None:
    main(["report", *map(str, arguments)])


def read_csv(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_grid_in_every_format(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    run_report(
        make_grid(tmp_path / "sweep", GRID), "--by", "fitness.zeta,fitness.eta", "--out", out
    )
    # By hand: mean and sample deviation of two are (a + b) / 2 and |a - b| / sqrt(2).
    expected = {
        ("0.4", "0.2"): "55.00 ± 7.07 (2)", ("0.4", "0.4"): "70.00 ± 0.00 (2)",
        ("1.0", "0.2"): "82.00 ± 2.83 (2)", ("1.0", "0.4"): "91.00 ± 1.41 (2)",
    }  # fmt: skip
    texts = list(expected.values())
    markdown = (out / "report.md").read_text()
    assert r"| zeta \\ eta | 0.2 | 0.4 |" in markdown
    assert f"| 0.4 | {texts[0]} | {texts[1]} |" in markdown
    assert f"| 1.0 | {texts[2]} | **{texts[3]}** |" in markdown
    latex = (out / "report.tex").read_text()
    assert rf"    0.4 & {texts[0]} & {texts[1]} \\".replace("±", r"$\pm$") in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") >= 2
    rows = read_csv(out / "report_grid.csv")
    assert [row[0] for row in rows[1:]] == ["0.4", "1.0"]
    assert [float(x) for row in rows[1:] for x in row[1:]] == pytest.approx([0.55, 0.7, 0.82, 0.91])
    groups = read_csv(out / "report.csv")
    assert groups[0][:5] == ["dataset", "fitness.zeta", "fitness.eta", "n", "mean"]
    assert [row[1:4] for row in groups[1:]] == [[*place, "2"] for place in expected]
    content = json.loads((out / "report.json").read_text())
    assert content["grids"][0]["cells"][-1]["at"] == ["1.0", "0.4"]
    assert content["grids"][0]["cells"][-1]["mean"] == pytest.approx(0.91)
    assert content["comparisons"][0]["verdict"] == "cannot tell"
    page = Page((out / "report.html").read_text())
    assert set(texts) <= set(page.cells)
    for name in ("grid.png", "grid.svg", "cost.png", "cost.svg"):
        assert (out / name).stat().st_size > 1000
    shown = capsys.readouterr().out
    assert all(text in shown for text in texts)
    assert f"report: {out / 'report.html'}" in shown


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    make_grid(tmp_path / "sweep", GRID)
    run_report(tmp_path / "sweep", "--out", tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| 1.0, published | 84.36 (3.23 M) | 85.42 (2.96 M) | 85.53 (3.71 M)" in markdown
    assert "| 1.0, ours | - | - | 80.00 ± 0.00 (2) | 80.00 ± 0.00 (2) |" in markdown  # validation
    assert "83.096 (3.40 M)" in markdown  # the reproduction's


def test_published_seeds_stand_beside_ours(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.97, 0.98]):
        make_run(tmp_path / str(seed), seed=seed, accuracy=accuracy, dataset="cifar10",
                 overrides=["experiment=egnas_retrain_seeds"])  # fmt: skip
    run_report(tmp_path, "--out", tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "report_reproduction_table_2.csv")
    assert [float(text) for text in rows[1][1:3]] == pytest.approx([0.0277, 0.1805])
    assert [float(row[1]) for row in rows[-3:]] == pytest.approx([0.03, 0.02, 0.025])
    assert rows[-1][0] == "ours: egnas on toy (cifar10), average"


def damage(run: Path, what: str) -> None:
    """Make a finished run what it would be after an accident."""
    record = json.loads((run / "run.json").read_text())
    if what in ("running", "failed", "interrupted", "unheard of"):
        record |= {"status": what, "error": "loss is not finite\nat step 3"}
        (run / "run.json").write_text(json.dumps(record))
    elif what.startswith("no "):
        (run / what.removeprefix("no ")).unlink()
    elif what.startswith("half "):
        path = run / what.removeprefix("half ")
        path.write_bytes(path.read_bytes()[:-9])
    elif what == "accuracy is a text":
        (run / "result.json").write_text('{"seed": 0, "retrain": {"test_accuracy": "0.9"}}')
    elif what == "result is a list":
        (run / "result.json").write_text("[]")
    elif what == "deep json":
        (run / "result.json").write_text("[" * 100_000)
    elif what == "bytes":
        (run / ".hydra" / "config.yaml").write_bytes(b"\xff\xfe\x00")
    elif what == "python in yaml":
        (run / ".hydra" / "config.yaml").write_text("a: !!python/object/apply:os.abort []")
    elif what == "endless yaml":
        rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        (run / ".hydra" / "config.yaml").write_text("\n".join(["a0: &a0 [1, 2]", *rows]))
    elif what == "a folder for a file":
        (run / "result.json").unlink()
        (run / "result.json").mkdir()


DAMAGES = {
    "running": ("running", "if it was killed, nasrun resume"),
    "failed": ("failed", "loss is not finite"),
    "interrupted": ("interrupted", "nasrun resume"),
    "unheard of": ("damaged", "run.json has no status that is known"),
    "no run.json": ("damaged", "cannot read run.json: No such file or directory"),
    "no result.json": ("damaged", "cannot read result.json: No such file or directory"),
    "no .hydra/config.yaml": ("damaged", "cannot read .hydra/config.yaml: No such file"),
    "half run.json": ("damaged", "run.json is not valid JSON"),
    "half result.json": ("damaged", "result.json is not valid JSON"),
    "accuracy is a text": ("incomplete", "done, but there is no test accuracy in result.json"),
    "result is a list": ("damaged", "result.json is not a JSON object"),
    "deep json": ("damaged", "result.json is not valid JSON"),
    "bytes": ("damaged", "config.yaml is not text"),
    "python in yaml": ("damaged", "config.yaml is not valid YAML"),
    "endless yaml": ("damaged", "config.yaml has too many keys"),
    "a folder for a file": ("damaged", "cannot read result.json: Is a directory"),
}


def test_damaged_runs_are_listed(tmp_path: Path, capsys) -> None:
    sweep = tmp_path / "sweep"
    make_run(sweep / "good", errors=[0.5, 0.2], steps=[{"phase": "search", "val_accuracy": 0.8}])
    for name in ("evaluations.jsonl", "metrics.jsonl"):
        (sweep / "good" / name).write_bytes((sweep / "good" / name).read_bytes()[:-9])
    for number, what in enumerate(DAMAGES):
        damage(make_run(sweep / f"damaged-{number:02}", seed=1 + number), what)
    (sweep / "multirun.yaml").write_text("")
    (sweep / "empty").mkdir()
    run_report(sweep, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {Path(item["folder"]).name: item for item in content["not_counted"]}
    for number, (what, (status, reason)) in enumerate(DAMAGES.items()):
        item = found.pop(f"damaged-{number:02}")
        assert item["status"] == status, what
        assert reason in item["reason"], what
    assert [item["reason"] for item in found.values()] == [
        "the folder is empty: it has no run.json"
    ]
    assert [group["n"] for group in content["groups"]] == [1]
    assert sum("1 of" in note and "unreadable" in note for note in content["notes"]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "loss is not finite" in captured.out


def test_jobs_that_never_began(tmp_path: Path, capsys) -> None:
    make_run(tmp_path / "0")
    (tmp_path / "1").mkdir()
    jobs = [{"number": n, "folder": name} for n, name in enumerate(["0", "1", "2", "../3"])]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    (tmp_path / "multirun.yaml").write_text("")
    run_report(tmp_path, "--out", tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split()[0]).name for line in lines if "not begun" in line] == ["1", "2"]
    (tmp_path / "sweep.json").write_text('{"jobs": 3}')
    run_report(tmp_path, "--out", tmp_path / "out")
    assert "sweep.json is not the record of a sweep" in capsys.readouterr().out


def test_only_damaged_runs(tmp_path: Path, capsys) -> None:
    damage(make_run(tmp_path / "run"), "failed")
    run_report(tmp_path / "run", "--out", tmp_path / "out", "--metric", "regret")
    assert "Not counted" in capsys.readouterr().out
    assert "loss is not finite" in (tmp_path / "out" / "report.html").read_text()


EVIL = "<script>alert(1)</script>"


def test_hostile_names_are_harmless(tmp_path: Path) -> None:
    """Texts that would be code in HTML, Markdown, LaTeX, a spreadsheet or matplotlib."""
    texts = [EVIL, '"><img src=x onerror=alert(1)>', "]]>--><svg onload=alert(1)>", "_hidden"]
    texts += [
        "{{ 7 * 7 }}{% raw %}",
        r"$\frac{$",
        r"\input{/etc/passwd}",
        "=cmd()",
        "a|b\n# c",
        "\ud800\u202e\x1b[31m",
    ]
    for seed in range(2):
        for number, text in enumerate(texts):
            run = make_run(
                tmp_path / f"{number}-{seed}{'<b>' * (number == 0)}", seed=seed, dataset=EVIL,
                accuracy=0.5 + 0.01 * number, overrides=[f"strategy.kind={text}"],
                config={"strategy": {"kind": text.replace("\ud800", "")}, "number": number},
                errors=[0.5, 0.4], result={"strategy": text},
                record={"device": text, "commit": text},
            )  # fmt: skip
            (run / "cells.svg").write_text(
                '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)'
                "</script></svg>"
            )
    make_run(tmp_path / "failed", record={"status": "failed", "error": EVIL})
    run_report(tmp_path, "--out", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "script-src 'sha256-" in text
    assert any(EVIL in cell for cell in page.cells)  # shown as a text
    assert any("{{ 7 * 7 }}{% raw %}" in cell for cell in page.cells)
    sources = [a["src"] or "" for tag, a in page.tags if tag == "img" and "src" in a]
    assert sources
    touched = [a["data-touches"] for tag, a in page.tags if tag == "figure"]
    assert any(EVIL in place[2] for text in touched for place in json.loads(text or "[]"))
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    addresses = [value for _, a in page.tags for key, value in a.items()
                 if key in ("href", "xlink:href", "src", "action")]  # fmt: skip
    assert all(value.startswith(("#", "data:")) for value in addresses)
    assert "<script" not in (tmp_path / "out" / "report.md").read_text()
    latex = (tmp_path / "out" / "report.tex").read_text()
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert "'=cmd()" in [row[1] for row in read_csv(tmp_path / "out" / "report.csv")]
    for path in (tmp_path / "out").glob("*.svg"):
        assert "<script" not in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: folders; usage: nasrun report FOLDER..."),
        (["nowhere"], "nowhere is not a folder"),
        (["empty"], "empty holds no run: give run or sweep folders"),
        (["sweep", "--metric", "regrett"], "--metric regrett: did you mean regret?"),
        (["sweep", "--metric", "percentile"], "no finished run has it; there are test_accuracy"),
        (
            ["sweep", "--by", "fitness.zetta"],
            "--by fitness.zetta: no run has this key; did you mean",
        ),
        (["sweep", "--by", "fitness.zeta,"], "--by fitness.zeta,: give different keys"),
        (["sweep", "--out", "file/x"], "cannot write in file/x: Not a directory"),
    ],
    ids=str,
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    make_grid(Path("sweep"), {(1.0, 0.4): [0.5]})
    Path("empty").mkdir()
    Path("file").write_text("")
    with pytest.raises(SystemExit) as caught:
        run_report(*arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_default_folder_and_nothing_heavy(tmp_path: Path) -> None:
    make_grid(tmp_path / "sweep", GRID)
    script = (
        "import sys; from nasrun.cli.main import main; main(sys.argv[1:])\n"
        "assert not {'torch', 'hydra', 'omegaconf', 'tensorboard', 'sklearn'} & set(sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, "report", "sweep"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert finished.stderr == ""
    found = re.search(r"report: (outputs/reports/\S+/report\.html)", finished.stdout)
    assert found is not None
    assert (tmp_path / found[1]).is_file()


@pytest.mark.slow
def test_a_thousand_runs(tmp_path: Path) -> None:
    config = {f"part{i}": {f"key{j}": 0.5 for j in range(10)} for i in range(10)}
    steps = [{"phase": "search", "seconds": 1.0, "labels": 5.0 * i, "best_val_accuracy": 0.5,
              "regret": 0.1, "held_out_tau": 0.5} for i in range(1, 21)]  # fmt: skip
    for number in range(1000):
        make_run(
            tmp_path / "sweep" / str(number), seed=number % 100,
            accuracy=0.5 + 0.0001 * (number * 7919 % 1000),
            overrides=[f"a={number // 100}"], config={"a": number // 100, **config},
            errors=[0.5] * 100, steps=steps,
        )  # fmt: skip
    started = time.process_time()  # the same as that of the clock on an idle machine
    run_report(tmp_path / "sweep", "--out", tmp_path / "out")
    assert time.process_time() - started < 10

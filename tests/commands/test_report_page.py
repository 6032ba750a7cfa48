"""What the page of a report shows, says and lets a person take along; and its renewal."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from nasrun.cli.main import main
from nasrun.genotypes.nasbench201 import EDGES, OPERATIONS, nasbench201_genotype
from nasrun.report import details, figures, space_map, tables
from nasrun.report.analysis import Report, analyse
from nasrun.report.collect import collect
from nasrun.report.watch import watch
from tests.commands.test_report import Page, read_csv, run_report
from tests.made_runs import GENOTYPE, make_run

WARNINGS = ["alpha hardly moves: a step changes the weights by 0.0001", "collapse into skip"]


def report_on(*folders: Path, **options) -> Report:
    return analyse(*collect(folders), **options)


def classes(*recognised: float) -> list[dict]:
    return [
        {"name": f"class {k}", "count": 10, "sensitivity": x, "positive_predictivity": 0.5}
        for k, x in enumerate(recognised)
    ]


def retrained(accuracy: float, confusion: object) -> dict:
    return {"retrain": {"test_accuracy": accuracy, "params": 5e5, "seconds": 7.0,
                        "classes": classes(0.8, 0.6), "confusion": confusion}}  # fmt: skip


def test_warnings_of_the_guard_stand_in_every_format(tmp_path: Path) -> None:
    for seed, said in enumerate([WARNINGS, [WARNINGS[0].replace("0.0001", "2e-05"), 7], []]):
        make_run(tmp_path / "runs" / str(seed), seed=seed, result={"warnings": said})
    run_report(tmp_path / "runs", "--out", tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "report_warnings.csv")[1:]
    assert [row[1:] for row in rows] == [[WARNINGS[0], "0, 1", "2"], [WARNINGS[1], "0", "1"]]
    assert any(
        "0.0001" in cell for cell in Page((tmp_path / "out" / "report.html").read_text()).cells
    )
    assert WARNINGS[1] in (tmp_path / "out" / "report.md").read_text()
    latex = (tmp_path / "out" / "report.tex").read_text()
    assert WARNINGS[1] in latex
    assert r"\footnotesize Sentences that differ in numbers alone are one" in latex


def test_only_a_best_that_is_kept_is_called_one(tmp_path: Path) -> None:
    alpha = [{"phase": "search", "seconds": 1.0, "val_accuracy": x} for x in (0.5, 0.7, 0.6)]
    kept = [{"phase": "search", "seconds": 1.0, "best_val_accuracy": 0.6, "regret": 0.2}]
    for name, steps, errors in (("darts", alpha, []), ("random", kept, [0.4])):
        make_run(tmp_path / name, steps=steps, errors=errors,
                 overrides=[f"strategy={name}"], config={"strategy": {"name": name}})  # fmt: skip
    report = report_on(tmp_path)
    labels = {item.name: (item.y_label, list(item.curves)) for item in report.curve_sets}
    assert labels == {
        "evaluations": ("best so far: regret", ["random"]),
        "seconds": ("best so far: regret", ["random"]),
        "seconds_alpha": ("validation error, current alpha", ["darts"]),
        "steps_alpha": ("validation error, current alpha", ["darts"]),
    }
    (curve,) = report.curve_sets[-1].curves.values()
    assert curve.mean == pytest.approx([0.5, 0.3, 0.4])  # it rises again
    alone = report_on(tmp_path / "darts").curve_sets
    assert [item.name for item in alone] == ["seconds", "steps"]


def test_regrets_are_drawn_on_a_scale_that_tells_them_apart(tmp_path: Path) -> None:
    """From 25 % to 0.1 % and to the optimum itself, which has a line of its own."""
    for seed in range(3):
        for name, errors in (("a", [0.35, 0.12, 0.1]), ("b", [0.35, 0.13, 0.101])):
            steps = [{"phase": "search", "seconds": 1.0, "best_val_accuracy": 0.9, "regret": 0.0}]
            make_run(
                tmp_path / f"{name}{seed}", seed=seed, errors=errors, steps=steps,
                overrides=[f"strategy={name}"], config={"strategy": {"name": name}},
            )  # fmt: skip
    report = report_on(tmp_path)
    figure, touches = figures.curve_plot(report.curve_sets[0], ["a", "b"])
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    ends = [line.get_ydata()[-1] for line in axes.lines if len(line.get_xdata()) == 3]
    assert ends == pytest.approx([0.0005, 0.001])  # half of the least that is no 0
    assert [text.get_text() for text in axes.texts] == ["0: the optimum of the table"]
    assert touches[-1].text == "b\ntrue evaluations: 3\n0.1 % (0.1 to 0.1)"
    assert touches[2].text == "a\ntrue evaluations: 3\n0 % (0 to 0)"


def test_retrainings_are_named_and_grouped_by_their_cells(tmp_path: Path) -> None:
    other = json.loads(json.dumps(GENOTYPE).replace("conv", "skip"))
    for seed in range(2):
        for name, typed, genotype in (
            ("v2", "darts_v2", GENOTYPE), ("run", "/tmp/some/run", other),
            ("copy", "/tmp/copy/of/it", other), ("random", "random", GENOTYPE),
        ):  # fmt: skip
            make_run(
                tmp_path / f"{name}-{seed}", seed=seed + 2 * (name == "copy"),
                overrides=[f"genotype={typed}"], config={"genotype": typed},
                record={"kind": "retrain"}, result={"strategy": None, "genotype": genotype},
            )  # fmt: skip
    names = {row.group.name: row.summary.n for row in report_on(tmp_path).rows}
    (cell,) = [name for name in names if name.startswith("cell ")]
    assert re.fullmatch("cell [0-9a-f]{8} retrained", cell)
    assert names == {"darts_v2 retrained": 2, cell: 4, "random retrained": 2}
    assert report_on(tmp_path).grouping.keys == ("cell",)
    by_strategy = {row.group.name for row in report_on(tmp_path, by=["strategy"]).rows}
    assert by_strategy == set(names)
    make_run(tmp_path / "search", overrides=["strategy=egnas"], config={"strategy": {"a": 1}})
    mixed = {row.group.settings["strategy"] for row in report_on(tmp_path).rows}
    assert mixed == {*names, "egnas"}


def test_classes_and_their_confusion_by_hand(tmp_path: Path) -> None:
    """8 + 6 and 2 + 4 of each class, over two runs; what is no matrix is left out."""
    matrices = [[[8, 2], [4, 6]], [[6, 4], [0, 10]], "none", [[1, 2]], [[1, "x"], [0, 0]]]
    for seed, matrix in enumerate(matrices):
        make_run(tmp_path / str(seed), seed=seed, result=retrained(0.7, matrix))
    report = report_on(tmp_path)
    names, counts = details.confusion(report.rows[0])
    assert names == ["class 0", "class 1"]
    assert counts.tolist() == [[14, 6], [4, 16]]
    shown = {table.name: table for table in tables.all_tables(report)}
    assert [cell.shade for cell in shown["confusion"].rows[0][1:]] == [0.7, 0.3]
    assert [cell.text for cell in shown["classes"].rows[1]][1:4] == [
        "class 1",
        "10",
        "60.00 ± 0.00",
    ]
    hardware = dict(zip(shown["hardware"].columns, shown["hardware"].rows[0], strict=True))
    assert (hardware["runs"].value, hardware["retraining s"].value) == (5, 35.0)
    assert hardware["search s"].value == 5 * 864.0


def test_learning_curves_of_retrainings(tmp_path: Path) -> None:
    for seed, accuracies in enumerate([(0.5, 0.7), (0.7, 0.9)]):
        steps = [{"phase": "retrain", "loss": 1.0, "val_accuracy": x} for x in accuracies]
        make_run(tmp_path / str(seed), seed=seed, steps=steps)
    (found,) = report_on(tmp_path).curve_sets
    assert (found.name, found.y_label) == ("retraining", "validation error")
    (curve,) = found.curves.values()
    assert curve.mean == pytest.approx([0.4, 0.2])
    losses = [{"phase": "retrain", "loss": x} for x in (2.0, 1.5)]
    (found,) = report_on(make_run(tmp_path / "new", steps=losses)).curve_sets
    assert (found.y_label, found.are_errors) == ("training loss", False)


@pytest.fixture
def page(tmp_path: Path) -> tuple[str, Path]:
    for seed in range(3):
        for name in ("a", "b"):
            make_run(
                tmp_path / "runs" / f"{name}{seed}", seed=seed, errors=[0.5, 0.2 + 0.01 * seed],
                overrides=[f"strategy={name}"], config={"strategy": {"name": name}},
                result=retrained(0.5 + 0.1 * seed, None),
            )  # fmt: skip
    run_report(tmp_path / "runs", "--out", tmp_path / "out")
    return (tmp_path / "out" / "report.html").read_text(), tmp_path / "out"


def test_the_page_holds_its_own_files(page: tuple[str, Path]) -> None:
    text, out = page
    links = {a["download"]: a["href"] for tag, a in Page(text).tags if "download" in a}
    assert {"report.json", "report.tex", "report.csv", "report_pairs.csv"} <= set(links)
    for name, address in links.items():
        head, _, content = (address or "").partition(",")
        assert re.fullmatch(r"data:[a-z/-]+;charset=utf-8;base64", head)
        assert base64.b64decode(content) == (out / name).read_bytes()


def test_places_under_the_pointer_are_on_the_plot(page: tuple[str, Path]) -> None:
    text, _ = page
    found = Page(text).tags
    plots = [json.loads(a["data-touches"] or "") for tag, a in found if tag == "figure"]
    boxes = [a["viewbox"] for tag, a in found if tag == "svg"]
    assert len(plots) == len(boxes) > 3
    for places, box in zip(plots, boxes, strict=True):
        width, height = map(float, (box or "").split()[2:])
        assert places
        assert all(0 <= x <= width and 0 <= y <= height for x, y, _ in places)
    assert any("a\ntrue evaluations: 2\n21 % (20 to 22)" in place for place in plots[0])


def test_the_page_has_two_schemes_and_a_drawing_beside_each_row(page: tuple[str, Path]) -> None:
    text, out = page
    assert "@media screen and (prefers-color-scheme: dark)" in text  # print stays light
    assert "stroke: var(--c0)" in text
    assert "stroke: #0072b2" in (out / "curve_evaluations.svg").read_text()
    tags = Page(text).tags
    beside = [a["data-from"] for tag, a in tags if tag == "img" and "data-from" in a]
    folds = [a["id"] for tag, a in tags if tag == "details"]
    assert beside == folds == ["run-0", "run-1"]
    assert 'http-equiv="refresh"' not in text


def test_methods_over_tasks_by_hand(tmp_path: Path) -> None:
    """Three methods, each a tenth better than the next on every seed of three datasets."""
    for data in ("x", "y", "z"):
        for place, name in enumerate("abc"):
            for seed in range(4):
                make_run(
                    tmp_path / f"{data}{name}{seed}", seed=seed, dataset=data,
                    accuracy=0.9 - 0.1 * place - 0.01 * seed,
                    overrides=[f"strategy={name}", f"dataset={data}"],
                    config={"strategy": {"name": name}},
                )  # fmt: skip
    report = report_on(tmp_path)
    across = report.across
    assert across is not None
    assert across.tasks == ("x", "y", "z")
    # worst .67 is 0, best .90 is 1; the middle half of each task is seeds 1 and 2
    expected = [(0.9 - 0.1 * place - 0.015 - 0.67) / 0.23 for place in range(3)]
    assert [one.name for one in across.standings] == ["a", "b", "c"]
    assert [one.middle for one in across.standings] == pytest.approx(expected)
    assert [one.probability for one in across.improvements] == [1.0, 1.0, 1.0]
    assert across.ranks.mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0}
    names = {picture.name for picture in figures.figures(report)}
    assert {"across_middle", "across_profile", "across_improvement", "across_ranks"} <= names
    (alike,) = [table for table in tables.all_tables(report) if table.name == "across_ranks"]
    # q sqrt(k (k + 1) / 6 n) = 2.343 sqrt(12 / 18) = 1.913: the first and the last differ
    assert [row[2].text for row in alike.rows] == ["a", "a b", "b"]
    assert "critical difference 1.91" in alike.title


def test_the_map_has_a_place_for_every_cell() -> None:
    digits = np.stack(np.meshgrid(*[range(5)] * len(EDGES)), -1).reshape(-1, len(EDGES))
    cells = [nasbench201_genotype([OPERATIONS[d] for d in row]) for row in digits[::25]]
    places = {space_map.place_of(cell) for cell in cells}
    assert len(places) == len(cells) == 625
    assert max(max(place) for place in places) < space_map.SIDE == 125
    best = nasbench201_genotype(["nor_conv_3x3"] * 6)
    assert space_map.place_of(best) == (124, 124)
    assert space_map.place_of(nasbench201_genotype(["none"] * 5 + ["skip_connect"])) == (0, 1)


def at_work(folder: Path, pid: int) -> None:
    (folder / ".lock").write_text(f"{pid} {socket.gethostname()}\n")


def unfinished(folder: Path, seed: int) -> Path:
    return make_run(folder, seed=seed, record={"status": "running", "started": "today"})


def finish(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "done"}))
    (folder / ".lock").write_text("")


def test_watching_ends_when_no_job_is_at_work(tmp_path: Path) -> None:
    """Two jobs run and one waits in the sweep; they end one by one; a report after each."""
    jobs = [unfinished(tmp_path / str(seed), seed) for seed in range(2)]
    for job in jobs:
        at_work(job, os.getpid())
    at_work(tmp_path, os.getpid())
    listed = [{"number": n, "folder": f"{n}"} for n in range(3)]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": listed}))
    renewed, said, looks = [], [], iter([jobs[0], None, jobs[1], "the third", "the end"])

    def wait(seconds: float) -> None:
        assert seconds >= 5
        event = next(looks)
        if isinstance(event, Path):
            finish(event)
        elif event == "the third":
            at_work(make_run(tmp_path / "2", seed=2, record={"status": "running"}), os.getpid())
        elif event == "the end":
            finish(tmp_path / "2")
            (tmp_path / ".lock").write_text("")

    def renew(found, renew_s):
        renewed.append((len(found[0]), renew_s))
        return tmp_path / "report.html"

    told = watch([tmp_path], renew, said.append, wait)
    assert renewed == [(0, 5), (1, 5), (2, 5), (2, 5), (3, None)]
    assert told == f"report: {tmp_path / 'report.html'}; no job is at work any more"
    assert said[0] == f"0 runs are done, 3 to come: {tmp_path / 'report.html'}"


def test_a_job_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    at_work(unfinished(tmp_path / "0", 0), 2**22 + 1)  # above the largest pid of Linux
    assert "no job is at work" in watch([tmp_path], lambda *_: Path("page"), print, pytest.fail)


def test_ctrl_c_ends_watching_with_one_sentence(tmp_path: Path, capsys, monkeypatch) -> None:
    make_run(tmp_path / "runs" / "0")
    at_work(unfinished(tmp_path / "runs" / "1", 1), os.getpid())

    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nasrun.commands.report.watch",
                        lambda *given: watch(*given, wait=press))  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        main(["report", str(tmp_path / "runs"), "--watch", "--out", str(tmp_path / "out")])
    assert caught.value.code == 130
    page = tmp_path / "out" / "report.html"
    captured = capsys.readouterr()
    assert captured.err == f"nasrun: no longer watching; the report stands as it is: {page}\n"
    assert captured.out == f"1 runs are done, 1 to come: {page}\n"
    assert '<meta http-equiv="refresh" content="5">' in page.read_text()

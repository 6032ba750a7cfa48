"""Run folders of an earlier version go on, are repeated, reported and drawn: `before/README.md`.

What they become is compared with what they became then.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasrun.cli.main import main
from tests import made_tables
from tests.commands.pictures import without_pictures
from tests.golden.trajectories import ALIKE, ELSEWHERE, differences, made_with

BEFORE = Path(__file__).parent / "before"
FILES = ("result.json", "metrics.jsonl", "evaluations.jsonl")
TIMES = ("second", "cost_s")  # parts of the names of what differs from run to run


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    np.savez(tmp_path / "nasbench201.npz", **made_tables.nasbench201())
    monkeypatch.setenv("NASRUN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


def outcome(folder: Path | str) -> dict[str, Any]:
    """What the files of a run say, apart from times, paths and the words of warnings."""
    found = {}
    for path in (Path(folder) / name for name in FILES):
        if path.exists():
            text = path.read_text()
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            found[path.name] = [_lasting(json.loads(line)) for line in lines]
    return found


def _lasting(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    passing = [name for name in value if name == "file" or any(time in name for time in TIMES)]
    lasting = {name: _lasting(value[name]) for name in value if name not in passing}
    if "warnings" in lasting:  # sentences for people, which may be put in other words
        lasting["warnings"] = len(lasting["warnings"])
    return lasting


def changed(folder: Path | str, twin: Path) -> list[str]:
    """One line for each value of a run that is not that of its twin. Where processor or libraries
    are others, a search by a predictor need only have as many labels."""
    now, then = outcome(folder), outcome(twin)
    now = _known_then(now, then)
    if made_with() == (BEFORE / "made_with.txt").read_text().strip():
        return list(differences(then, now, ALIKE))
    if any("predictor_tau" in line for line in then["metrics.jsonl"]):
        now, then = ({"labels": len(one["evaluations.jsonl"])} for one in (now, then))
    return list(differences(then, now, ELSEWHERE))


def _known_then(now: Any, then: Any) -> Any:
    """What later versions say, without what the earlier one did not say at all."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: _known_then(now[key], then[key]) for key in now if key in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [_known_then(*pair) for pair in zip(now, then, strict=True)]
    return now


def status(folder: Path | str) -> str:
    return str(json.loads((Path(folder) / "run.json").read_text()).get("status"))


@pytest.mark.parametrize("name", ["genetic", "ridge", "retrain"])
def test_an_interrupted_run_goes_on_to_what_its_twin_became(name: str, capsys) -> None:
    assert status(name) == "interrupted"
    known = len(Path(name, "metrics.jsonl").read_text().splitlines())
    assert known < len(outcome(BEFORE / "twins" / name)["metrics.jsonl"])
    main(["resume", name])
    assert capsys.readouterr().err == ""
    assert status(name) == "done"
    assert changed(name, BEFORE / "twins" / name) == []


def test_a_search_on_alphas_goes_on_and_draws_its_images_in_another_way(capsys) -> None:
    """Since then no image of an epoch's choice is among those of its fitness: only the steps of the
    twin are compared, and in full what the run had done by then, in its warm-up."""
    before, twin = outcome("egnas")["metrics.jsonl"], outcome(BEFORE / "twins" / "egnas")
    main(["resume", "egnas"])
    assert capsys.readouterr().err == ""
    assert status("egnas") == "done"
    now = outcome("egnas")["metrics.jsonl"]
    assert list(differences(before, now[: len(before)], ELSEWHERE)) == []
    assert [line["step"] for line in now] == [line["step"] for line in twin["metrics.jsonl"]]


def test_half_a_sweep_goes_on(capsys) -> None:
    assert [Path("half", job).exists() for job in "012"] == [True, True, False]
    main(["resume", "half"])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "3 jobs in half: 3 done" in captured.out
    for job in "12":
        assert changed(Path("half", job), BEFORE / "twins" / "half" / job) == []
    assert outcome("half/0") == outcome(BEFORE / "half" / "0")


@pytest.mark.parametrize(("command", "name"), [("search", "finished"), ("search", "table"),
                                               ("retrain", "retrain")])  # fmt: skip
def test_a_run_is_repeated_by_its_record(command: str, name: str, capsys) -> None:
    main([command, "--from", name, "hydra.run.dir=again"])
    assert "_target_" not in capsys.readouterr().err  # would be told as a setting that has changed
    twin = BEFORE / "twins" / name if name == "retrain" else BEFORE / name
    assert changed("again", twin) == []


def test_a_job_of_a_sweep_is_repeated_by_its_record(capsys) -> None:
    main(["search", "--from", "sweep/1", "hydra.run.dir=again"])
    assert "_target_" not in capsys.readouterr().err
    assert changed("again", BEFORE / "sweep" / "1") == []


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["finished", "table"], ["Test accuracy of 2 runs", "75.39", "44.13", "87.89"]),
        (["sweep"], ["Search validation accuracy of 2 runs"]),
        (["half"], ["Search validation accuracy of 1 run", "nasrun resume half/1 goes on"]),
    ],
    ids=["runs", "sweep", "half"],
)
def test_runs_and_sweeps_are_reported(folders: list[str], said: list[str], capsys) -> None:
    main(["report", *folders, "--out", "out"])
    captured = capsys.readouterr()
    assert captured.err == ""
    assert [words for words in said if words not in captured.out] == []
    lines = Path("out/report_runs.csv").read_text().splitlines()
    assert len(lines) == 1 + int(said[0].split()[-2])
    assert Path("out/report.html").stat().st_size > 1000


def test_a_run_is_drawn(capsys) -> None:
    from nasrun.genotypes.source import resolve

    main(["show", "finished", "--out", "cell.svg"])
    assert f"space toy, id {resolve('finished').short_id}" in capsys.readouterr().out
    assert Path("cell.svg").exists() or True


@pytest.mark.parametrize("name", ["finished", "table"])
def test_what_a_run_found_is_retrained(name: str) -> None:
    words = [f"genotype={name}", "dataset=synthetic", "dataset.num_train=64", "retrain=smoke"]
    main(["retrain", *words, "retrain.channels=2", "hydra.run.dir=again"])
    result = json.loads(Path("again/result.json").read_text())
    assert result["genotype"] == json.loads(Path(name, "genotype.json").read_text())
    assert result["retrain"]["epochs"] == 2

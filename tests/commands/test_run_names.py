"""Runs by name: `last`, beginnings of names, and what wins over them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nasrun.cli.completion import candidates
from nasrun.cli.main import main
from nasrun.errors import UsageError
from nasrun.runs.run_names import ANY, GENOTYPE, NETWORK, SETTINGS, genotype, in_words, path_of

CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
OLD = "outputs/2026-11-28/12-00-00-darts-egnas-s0"
NEW = "outputs/2026-11-29/12-00-07-darts-egnas-s0"
SWEEP = "outputs/sweeps/2026-11-29/11-00-00"


def make(
    folder: str, started: str, status: str = "done", *files: str, kind: str = "search"
) -> None:
    path = Path(folder)
    path.mkdir(parents=True)
    record = {"started": started, "status": status, "kind": kind}
    (path / "run.json").write_text(json.dumps(record))
    for name in files:
        (path / name).write_text(CELL)


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run with a network, a sweep of two retrainings after it, a search still later."""
    monkeypatch.chdir(tmp_path)
    make(OLD, "2026-11-28T12:00:00+00:00", "done", "genotype.json", "model.json")
    make(f"{SWEEP}/1", "2026-11-29T11:00:01+00:00", "done", "genotype.json", kind="retrain")
    make(f"{SWEEP}/10", "2026-11-29T11:00:02+00:00", "failed", kind="retrain")
    started = {"started": "2026-11-29T11:00:00+00:00"}
    Path(SWEEP, "sweep.json").write_text(json.dumps(started))


def begin_another() -> None:
    make(NEW, "2026-11-29T12:00:07+00:00", "running", "genotype.json")
    make(f"{NEW}/floor/resnet", "2026-11-29T13:00:00+00:00", "done", "model.json")  # is the run's


def test_last_is_the_newest_that_will_do(capsys) -> None:
    assert path_of("last", ANY) == Path(SWEEP)  # not one of its jobs
    begin_another()
    assert path_of("last", ANY) == Path(NEW)
    assert path_of("last", SETTINGS) == Path(NEW)
    assert path_of("last", GENOTYPE) == Path(SWEEP, "1")  # what runs is not finished
    assert path_of("last/family/07", NETWORK) == Path(OLD, "family/07")
    assert capsys.readouterr().err.splitlines()[-1] == f"nasrun: last/family/07 is {OLD}/family/07"
    Path(NEW, "run.json").write_text("{")
    assert path_of("last", SETTINGS) == Path(SWEEP, "10")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-28/12-00", OLD),
        ("12-00-00-darts", OLD),
        ("outputs/2026-11-29/12", NEW),
        ("11-00", SWEEP),
        ("sweeps/2026-11-29/11", SWEEP),
        ("11-00/1", f"{SWEEP}/1"),  # and not the tenth
        ("10", "10"),  # jobs go by no number alone
        ("nowhere", "nowhere"),
    ],
)
def test_a_beginning_names_one_run(text: str, expected: str) -> None:
    begin_another()
    assert path_of(text, ANY) == Path(expected)


def test_what_begins_several_names_is_refused() -> None:
    begin_another()
    with pytest.raises(UsageError) as caught:
        path_of("12-00", NETWORK)
    names = "2026-11-28/12-00-00-darts-egnas-s0 and 2026-11-29/12-00-07-darts-egnas-s0"
    assert str(caught.value) == f"12-00 begins the names of {names}: type more of it"


def test_a_path_wins() -> None:
    for name in ("last", "12-00-00-darts"):
        Path(name).mkdir()
        assert path_of(name, ANY) == Path(name)
    Path("~").mkdir()
    assert path_of("~/x", ANY) == Path(os.path.expanduser("~/x"))


def test_no_run_that_will_do() -> None:
    Path(OLD, "model.json").unlink()
    with pytest.raises(UsageError) as caught:
        path_of("last", NETWORK)
    kind = "finished run with a retrained network"
    assert str(caught.value) == f"last: there is no {kind} below {Path('outputs').absolute()}"


def test_genotypes_that_are_no_runs_stay_as_they_are() -> None:
    make("outputs/darts_v2_mine", "2026-11-30")
    for text in ("darts_v2", "resnet18", "random", CELL, "mine.py:DARTS", OLD, f"{OLD}:2"):
        assert genotype(text) == text
    assert genotype("darts_v2_m") == "outputs/darts_v2_mine"
    assert genotype("last:2") == f"{SWEEP}/1:2"


def test_command_lines_get_paths() -> None:
    begin_another()
    assert in_words("search", ["--from=last", "seed=1"]) == [f"--from={NEW}", "seed=1"]
    assert in_words("retrain", ["--from=last"]) == [f"--from={SWEEP}/10"]
    words = in_words("retrain", ["genotype=last,darts_v2,12-00-00-d", "name=last"])
    assert words == [f"genotype='{SWEEP}/1',darts_v2,'{OLD}'", "name=last"]
    assert in_words("retrain", [f"genotype='{CELL}'"]) == [f"genotype='{CELL}'"]


def test_commands_take_names(capsys) -> None:
    main(["show", "last"])
    assert "conv 3x3" in capsys.readouterr().out
    main(["resume", "12-00"])
    assert f"{OLD} is finished already" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["export", "12-00"])
    assert caught.value.code == 2
    assert f"12-00 is {OLD}" in capsys.readouterr().err


def test_completion_offers_names(tmp_path: Path) -> None:
    root = tmp_path
    (root / "retrain.yaml").write_text("genotype: x\n")
    short = "12-00-00-darts-egnas-s0 "
    assert candidates("nasrun export la", root) == ["last "]
    assert candidates("nasrun export 12", root) == [short]
    assert candidates("nasrun show 2026", root) == [f"2026-11-28/{short}"]
    assert candidates("nasrun report last 11", root) == ["11-00-00 "]
    assert candidates("nasrun export sweeps/", root) == [f"{SWEEP[8:]}/1 ", f"{SWEEP[8:]}/10 "]
    assert candidates("nasrun retrain genotype=l", root) == ["genotype=last "]
    assert f"genotype={short}" in candidates("nasrun retrain genotype=1", root)
    assert candidates("nasrun search --from las", root)[0] == "last "


def test_processes_of_one_run_are_not_asked_for_the_last(capsys, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit) as caught:
        main(["search", "--from", "last"])
    assert caught.value.code == 2
    assert "type its folder" in capsys.readouterr().err

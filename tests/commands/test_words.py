"""Words as people type them: paths of all kinds, options in capitals, values without their key."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasrun.benchmarks import csv_files
from nasrun.cli.main import main
from nasrun.config.flags import flags_first, quoted
from nasrun.engine.summary import summary
from nasrun.errors import RunError, UsageError, closest, together
from nasrun.launch.job import Jobs
from nasrun.launch.sweeper import Sweeper
from nasrun.protocols.result import Result
from nasrun.runs.sweep import Job, Sweep
from tests.commands.pictures import without_pictures
from tests.commands.refusal import refused
from tests.made_runs import GENOTYPE

QUICK = [
    "space=toy", "dataset=npz", "budget=smoke", "retrain=none", "population.size=2",
    "strategy.num_starts=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("dataset.root=~/x", "~/x"),
        ("dataset.root=données", "données"),
        ("genotype=my out/é", "my out/é"),
        ("dataset.file=it's (1).npz", "it's (1).npz"),
        ("dataset.file=a&b;c#.npz", "a&b;c#.npz"),
        ("dataset.file='a b'", "a b"),
        ("dataset.file=a b.npz", "a b.npz"),
        ("seed=3", 3),
        ("retrain.channels=null", None),
        ("strategy.sigmas=[1,2]", [1, 2]),
    ],
)
def test_a_value_reaches_hydra_as_it_was_typed(typed: str, value: Any) -> None:
    override = OverridesParser.create().parse_override(quoted(typed))
    assert override.value() == value


def test_a_sweep_over_such_values_stays_one() -> None:
    override = OverridesParser.create().parse_override(quoted("dataset.root=données,~/x,b"))
    assert [one.partition("=")[0] for one in override.sweep_string_iterator()] == [
        "'données'", "'~/x'", "b",
    ]  # fmt: skip


def test_a_file_whose_name_has_a_comma_is_one_value() -> None:
    Path("a,b.npz").touch()
    assert quoted("dataset.file=a,b.npz") == "dataset.file='a,b.npz'"


def test_home_is_known_where_nobody_else_would_expand_it(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/ä")
    assert quoted("hydra.run.dir=~/x") == "hydra.run.dir='/home/ä/x'"
    assert flags_first(["--from=~/run"]) == ["--from=/home/ä/run"]


def test_printed_commands_can_be_pasted() -> None:
    folder = Path("my runs/it's one")
    text = summary(folder, Result.from_json(_result()))
    lines = [line[11:] for line in text.splitlines() if "my runs" in line and "folder" not in line]
    words = [shlex.split(line.partition("  (")[0]) for line in lines]
    assert len(words) == 5
    assert all({str(folder), f"genotype={folder}"} & {*line} for line in words)


def _result() -> dict[str, Any]:
    return {
        "strategy": "egnas", "space": "toy", "dataset": "digits", "seed": 0, "genotype": GENOTYPE,
        "evaluations": 0, "scorings": 0, "search_seconds": 1.0, "search_val_accuracy": 0.5,
    }  # fmt: skip


def test_chdir_of_hydra_leaves_relative_files_where_they_are(capsys) -> None:
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2
    np.savez("é.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    words = ["dataset.file=é.npz", "hydra.job.chdir=true", "hydra.run.dir=mes résultats"]
    for command in ("check", "search"):
        main([command, *QUICK, *words])
        assert "hydra.job.chdir=true has no effect" in capsys.readouterr().err
    assert json.loads(Path("mes résultats/run.json").read_text())["status"] == "done"


@pytest.mark.parametrize("place", ["hydra.core.utils.configure_log", "nasrun.launch.job.Jobs._run"])
def test_a_signal_before_the_run_begins_leaves_no_folder(place: str, monkeypatch, capsys) -> None:
    def strike(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(place, strike)
    with pytest.raises(SystemExit) as stopped:
        main(["search", *QUICK, "dataset.file=a.npz"])
    assert stopped.value.code == 130
    assert not list(Path().rglob("*-toy-*"))


def test_a_failed_submission_is_recorded_with_its_reason(tmp_path) -> None:
    class Engine:
        has_submitted = False

    jobs = Jobs("search", None, "", [], None, None)  # type: ignore[arg-type]
    jobs.at_once = True
    sweeper = Sweeper(None)
    sweeper._jobs = jobs
    reason = "sbatch: error: invalid partition specified: gpu\nsbatch: error: failed"
    sweeper._after_a_crash(Engine(), [Job(0, tmp_path / "0", [])], RuntimeError(reason))  # type: ignore[arg-type]
    record = json.loads((tmp_path / "0/run.json").read_text())
    expected = "it could not be submitted: " + reason.replace("\n", " ")
    assert (record["status"], record["error"]) == ("failed", expected)


def test_what_slurm_says_of_a_death_is_recorded_of_each_job(tmp_path) -> None:
    """Also of one that has died before it could write anything, which is not started again."""

    class Engine:
        has_submitted = True

        def fate(self, job: Job) -> str:
            return f"SLURM says {['COMPLETED', 'OUT_OF_MEMORY', 'NODE_FAIL'][job.number]} on n1"

    jobs = Jobs("search", None, "", [], None, None)  # type: ignore[arg-type]
    jobs.at_once = True
    jobs.sweep = Sweep(tmp_path, "search", "", [], [])
    sweeper = Sweeper(None)
    sweeper._jobs = jobs
    all_jobs = [Job(number, tmp_path / str(number), []) for number in range(3)]
    for number, status in enumerate(["done", "running"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "run.json").write_text(json.dumps({"status": status}))
    sweeper._after_a_crash(Engine(), all_jobs, RuntimeError("of submitit"))  # type: ignore[arg-type]
    records = [job.record() for job in all_jobs]
    assert [record["status"] for record in records] == ["done", "failed", "failed"]
    assert records[1]["error"] == "SLURM says OUT_OF_MEMORY on n1"
    assert records[2]["error"] == "SLURM says NODE_FAIL on n1"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["search", "dataset=CIFAR10"], "did you mean cifar10?"),
        (["search", "retrain.lr=0.1"], "did you mean retrain.learning_rate?"),
        (["search", "EGNAS"], "did you mean strategy=egnas?"),
        (["search", "smoke"], "did you mean budget=smoke or retrain=smoke?"),
        (["retrain", "DARTS_V2"], "did you mean genotype=darts_v2?"),
        (["retrain", "genotype=DARTS_V2"], "did you mean darts_v2?"),
        (["search", "strategy={a:1}"], "strategy takes the name of an option, such as strategy=eg"),
        (["search", "+retrain.foo=1"], "retrain.foo does not exist; choose from retrain.aux"),
        (["search", "+retrain.epoch=1"], "did you mean retrain.epochs"),
        (["search", "strategy=a\nb"], "strategy=a b does not exist"),
    ],
)
def test_hints(typed: list[str], hint: str, capsys) -> None:
    error = refused(capsys, *typed)
    assert hint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "choices", "hint"),
    [
        ("a.bs", ["a.batch_size", "a.best"], "did you mean a.batch_size?"),
        ("Digits", ["digits", "digit"], "did you mean digits?"),
        ("x", ["alpha"], "choose from alpha"),
    ],
)
def test_closest(word: str, choices: list[str], hint: str) -> None:
    assert closest(word, choices) == hint


def test_a_sentence_has_no_line_breaks_and_a_list_of_them_has() -> None:
    assert str(UsageError("a\n  b\r\nc")) == str(RunError("a\n  b\r\nc")) == "a b c"
    assert together(["a\nb", "c"]) == "2 problems:\n- a b\n- c"
    assert str(UsageError(together(["a", "c"]))) == "2 problems:\n- a\n- c"


@pytest.mark.parametrize(("name", "known"), [("", True), ("Unnamed: 0", True), ("cfar10", False)])
def test_row_numbers_of_pandas_are_no_column_of_a_table(name: str, known: bool, tmp_path) -> None:
    highest = {"acc": 100.0}
    layout: Any = SimpleNamespace(
        cells=(("arch",),), needed=("acc",), numbers=highest, highest=highest.get
    )
    benchmark: Any = SimpleNamespace(name="b", csv="arch,acc")
    header = [name, "arch", "acc"]
    check = csv_files._check_header
    if known:
        assert check(benchmark, layout, tmp_path, header) == ("arch",)
    else:
        with pytest.raises(UsageError, match="column 'cfar10' is not known"):
            check(benchmark, layout, tmp_path, header)

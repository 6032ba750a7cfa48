"""Sweeps that survive: failing, killed and interrupted jobs, and what `nasrun resume` does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from nasrun.cli.main import main
from nasrun.config import compose as configuration
from nasrun.config.catalogue import conf_dir
from nasrun.errors import RunError, UsageError
from nasrun.launch.composing import Composer, kind
from nasrun.launch.job import Jobs
from nasrun.runs.checkpoint import Checkpoint
from nasrun.runs.sweep import Job, Sweep
from tests.commands.pictures import without_pictures
from tests.jobs import job

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none",
    "population.size=2", "strategy.num_starts=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def sweep(*overrides: str) -> None:
    main(["search", "-m", *QUICK, "hydra.sweep.dir=s", *overrides])


def stopped(*arguments: str) -> int:
    """The exit code of a command that does not end well."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def killed(*arguments: str) -> bool:
    """Run a command in a process of its own; whether it was killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking, from Python 3.12 on
        child = os.fork()
    if child == 0:
        try:
            main(list(arguments))
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def statuses(text: str) -> list[str]:
    """The last column of the table: `not run` gives `run`."""
    lines = text.rpartition(" jobs in ")[2].splitlines()[2:]
    rows = lines[: lines.index("")]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(len(rows))]
    return [row.split()[-1] for row in rows]


def test_a_job_that_is_refused_says_so_in_its_own_folder(capsys) -> None:
    assert stopped("search", "-m", *QUICK, "hydra.sweep.dir=s", "strategy.sigma=0.3,-1,0.5") == 2
    captured = capsys.readouterr()
    assert "nasrun: job 1 failed: strategy.sigma=-1" in captured.err
    assert "3 jobs in s: 2 done, 1 failed" in captured.out
    assert statuses(captured.out) == ["done", "failed", "done"]
    assert "job 1 failed: strategy.sigma=-1" in captured.out
    record = read(job("s", 1) / "run.json")
    assert record["overrides"] == [*QUICK, "strategy.sigma=-1"]
    assert (record["status"], "strategy.sigma=-1" in record["error"]) == ("failed", True)
    assert (record["kind"], record["command"]) == ("search", read("s/sweep.json")["command"])
    assert stopped("resume", "s/1") == 2
    assert "`nasrun resume s` runs it anew" in capsys.readouterr().err
    assert stopped("resume", "s") == 2
    assert statuses(capsys.readouterr().out) == ["done", "failed", "done"]


def test_on_error_stop_leaves_the_rest_for_resume(capsys) -> None:
    options = ["space=toy", "budget=smoke", "retrain=none", "population.size=2", "dataset=npz"]
    options += ["dataset.file=a.npz,b.npz", "sweep.on_error=stop", "hydra.sweep.dir=s"]
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2
    np.savez("b.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert stopped("search", "-m", *options) == 2
    captured = capsys.readouterr()
    assert statuses(captured.out) == ["failed", "run"]
    assert "sweep.on_error=stop: the jobs that are left are not run" in captured.err
    shutil.copy("b.npz", "a.npz")
    main(["resume", "s"])
    assert statuses(capsys.readouterr().out) == ["done", "done"]
    assert "error" not in read("s/0-file-a.npz/run.json")


def test_an_interrupted_sweep_tells_what_was_not_run(capsys, monkeypatch) -> None:
    original = Checkpoint.save

    def save(self: Checkpoint, *arguments: Any, **keywords: Any) -> None:
        if self._folder.path.name == "1-s1":
            raise KeyboardInterrupt
        original(self, *arguments, **keywords)

    monkeypatch.setattr(Checkpoint, "save", save)
    assert stopped("search", "-m", *QUICK, "hydra.sweep.dir=s", "seed=0,1,2") == 130
    captured = capsys.readouterr()
    assert statuses(captured.out) == ["done", "interrupted", "run"]
    assert captured.err == "nasrun: interrupted; `nasrun resume s` goes on\n"
    monkeypatch.setattr(Checkpoint, "save", original)
    main(["resume", "s"])
    assert statuses(capsys.readouterr().out) == ["done"] * 3


def test_two_jobs_never_share_a_folder(capsys) -> None:
    options = ["hydra.sweep.dir=t", "hydra.sweep.subdir=here", "seed=0,1"]
    assert stopped("search", "-m", *QUICK, *options) == 2
    message = "hydra.sweep.subdir gives job 1 the folder t/here, which is that of job 0: leave"
    assert message in capsys.readouterr().err
    assert not Path("t").exists()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("s", "job 1 the folder s, which is that of the sweep itself"),
        ("s/0", "job 1 the folder s/0, which is that of job 0"),
        ("elsewhere", "job 1 the folder elsewhere, which is that of something outside the sweep"),
    ],
)
def test_folders_that_no_job_may_have(folder: str, message: str) -> None:
    Path("s/old").mkdir(parents=True)
    Path("s/old/run.json").write_text("{}")
    jobs = [Job(0, Path("s/0"), []), Job(1, Path(folder), [])]
    with pytest.raises(UsageError, match=message):
        Sweep(Path("s"), "search", "", [], jobs).require_folders()


def test_a_job_is_not_put_where_a_run_is() -> None:
    Path("s/old").mkdir(parents=True)
    Path("s/old/run.json").write_text("{}")
    with pytest.raises(UsageError, match="s/old holds a run already"):
        Sweep(Path("s"), "search", "", [], [Job(0, Path("s/old"), [])]).require_new_at(Path("s"))


def test_a_second_sweep_in_the_same_folder_changes_nothing(capsys) -> None:
    sweep("seed=3,5", "hydra.sweep.subdir=seed${seed}")
    assert {path.name for path in Path("s").iterdir()} == {
        "sweep.json", "multirun.yaml", ".lock", "seed3", "seed5",
    }  # fmt: skip
    assert [job["folder"] for job in read("s/sweep.json")["jobs"]] == ["seed3", "seed5"]
    before = {path: path.read_bytes() for path in Path("s").rglob("*") if path.is_file()}
    assert stopped("search", "-m", *QUICK, "hydra.sweep.dir=s", "seed=3,5") == 2
    assert "`nasrun resume s` goes on with it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("s").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "swept", [["fitness.zeta=1,abc"], ["budget=smoke,nope"], ["sweep.on_error=later", "seed=0,1"]]
)
def test_faults_are_found_before_the_first_job(swept: list[str], capsys) -> None:
    assert stopped("search", "-m", *QUICK, "hydra.sweep.dir=s", *swept) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("s").exists()


def test_a_key_that_only_the_swept_options_have(capsys) -> None:
    """Hydra composes a configuration without the swept words first, with EG-NAS, which lacks it."""
    words = ["search", "-m", *QUICK[:5], "hydra.sweep.dir=s", "strategy=darts,beta_darts"]
    main([*words, "strategy.alpha_images=16"])
    records = [read(path) for path in sorted(Path("s").glob("*/run.json"))]
    assert [record["status"] for record in records] == ["done", "done"]
    assert all("strategy.alpha_images=16" in record["overrides"] for record in records)
    assert stopped(*words, "strategy.alpha_imags=16") == 2
    assert capsys.readouterr().err.count("strategy.alpha_imags does not exist") == 1


def test_jobs_that_differ_in_numbers_are_composed_once(monkeypatch) -> None:
    composed = []
    original = ConfigLoaderImpl.load_sweep_config

    def load(self: ConfigLoaderImpl, master_config: Any, sweep_overrides: list[str]) -> Any:
        composed.append(sweep_overrides[-2:])
        return original(self, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", load)
    monkeypatch.setattr(Jobs, "_run", lambda *_: {})
    sweep("fitness=paper,centred", "seed=range(0,2)")
    assert composed == [["fitness=paper", "seed=0"], ["fitness=centred", "seed=0"]]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=0", "seed=<integer>"), ("a.b_c=-12", "a.b_c=<integer>"), ("a=.5", "a=<number>"),
        ("a=1.", "a=<number>"), ("a=1e-3", "a=<number>"), ("a=2.5E3", "a=<number>"),
        ("a=True", "a=<truth>"), ("a=007", "a=007"), ("a=x1", "a=x1"), ("a=nan", "a=nan"),
        ("a=null", "a=null"), ("a=[1,2]", "a=[1,2]"), ("+a=1", "+a=1"), ("~a", "~a"), ("a=", "a="),
    ],
)  # fmt: skip
def test_which_overrides_are_of_a_kind(override: str, expected: str) -> None:
    assert kind(override) == expected


def test_a_copied_configuration_is_the_one_that_hydra_composes() -> None:
    configuration.register()
    common = ["space=toy", "fitness.eta=.5", "population.size=null", "name=x"]
    job = [*common, "seed=3", "fitness.zeta=1e-3", "compile=true", "budget.epochs=-2", "+new=7"]
    first = [*common, "seed=1", "fitness.zeta=0.5", "compile=false", "budget.epochs=9", "+new=7"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("search", common, RunMode.MULTIRUN)
        composer = Composer(loader)
        composer.check(master, [first, job])
        assert len(composer._composed) == 1
        copied = composer.load_sweep_config(master, job)
        assert copied == loader.load_sweep_config(master, job)
        assert copied.budget.epochs == -2
        assert composer.load_sweep_config(master, first).seed == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": [{"number": 0, "folder": "../../home", "overrides": []}]},
        {"jobs": [{"number": 0, "folder": "0", "overrides": ["hydra.verbose=true"]}]},
        {"jobs": 3},
        {"kind": "show"},
        {"arguments": ["--experimental-rerun=x.pickle"]},
        {"arguments": ["--multirun", "name=${oc.env:HOME}"]},
        {"jobs": [{"number": 0, "folder": "0", "overrides": ["name=${oc.env:HOME}"]}]},
    ],
    ids=range(7),
)
def test_a_hostile_record_of_a_sweep_is_refused(changes: dict[str, Any], capsys) -> None:
    record = {"kind": "search", "command": "", "arguments": ["--multirun"], "jobs": []}
    Path("s").mkdir()
    Path("s/sweep.json").write_text(json.dumps({**record, **changes}))
    assert stopped("resume", "s") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {path.name for path in Path("s").iterdir()} == {"sweep.json"}


def test_of_eight_jobs_one_fails_and_one_is_killed(capsys, monkeypatch) -> None:
    original = Checkpoint.save

    def save(self: Checkpoint, state: dict[str, Any], *arguments: Any, **keywords: Any) -> None:
        original(self, state, *arguments, **keywords)
        if self._folder.path.name == "2-s2":
            raise RunError("the disk is full")
        if self._folder.path.name == "7-s7" and state["spent"]["steps"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Checkpoint, "save", save)
    assert killed("search", "-m", *QUICK, "hydra.sweep.dir=s", "seed=range(0,8)")
    monkeypatch.setattr(Checkpoint, "save", original)
    found = [read(job("s", number) / "run.json")["status"] for number in range(8)]
    assert found == ["done", "done", "failed", "done", "done", "done", "done", "running"]
    assert read("s/2-s2/run.json")["error"] == "the disk is full"
    assert "RunError: the disk is full" in Path("s/2-s2/error.log").read_text()
    finished = {n: (job("s", n) / "result.json").stat().st_mtime_ns for n in (0, 1, 3, 4, 5, 6)}

    main(["resume", "s"])
    text = capsys.readouterr().out
    assert "6 of 8 jobs are done already" in text
    assert "job 2 goes on (7 of 8): " in text
    assert "job 7 goes on (8 of 8): " in text
    assert statuses(text) == ["done"] * 8
    assert {n: (job("s", n) / "result.json").stat().st_mtime_ns for n in finished} == finished
    assert [read(job("s", number) / "result.json")["seed"] for number in range(8)] == list(range(8))

    main(["search", *QUICK, "seed=7", "hydra.run.dir=alone"])  # the killed one, left alone
    alone, resumed = read("alone/result.json"), read("s/7-s7/result.json")
    for result in (alone, resumed):
        del result["search_seconds"]
    assert alone == resumed


def test_a_record_cannot_name_a_folder_of_configurations(capsys) -> None:
    """Hydra would run what a stranger's configuration names as a callback."""
    sweep("seed=0,1")
    record = read("s/sweep.json")
    record["arguments"].append("--config-dir=evil")
    Path("s/sweep.json").write_text(json.dumps(record))
    assert stopped("resume", "s") == 2
    assert "one by one, nasrun resume s/<job>" in capsys.readouterr().err


def test_another_sweeper_leaves_finished_runs_as_they_are(capsys) -> None:
    sweep("hydra/sweeper=basic", "seed=0,1")
    before = read("s/0/run.json")
    arguments = ["search", "-m", *QUICK, "hydra.sweep.dir=s", "hydra/sweeper=basic", "seed=0,1"]
    assert stopped(*arguments) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert read("s/0/run.json") == before

"""Jobs in other processes: their GPUs, their ends, and what is said where a launcher is missing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.plugins import Plugins

from nasrun.cli.main import main
from nasrun.compute.device import Device
from nasrun.config.hydra_errors import EXTRAS
from nasrun.errors import UsageError
from nasrun.launch import launchers, placement, shares
from nasrun.launch.launchers import Numbers
from nasrun.launch.placement import OneProcessEach
from nasrun.launch.shares import at_once, visible_gpus
from nasrun.launch.sweeper import Sweeper
from nasrun.launch.watch import Watch
from nasrun.runs.checkpoint import Checkpoint
from nasrun.runs.folder import RunFolder
from nasrun.runs.progress import Progress, progress_of
from nasrun.runs.sweep import Job
from nasrun.terminal.pace import Pace
from tests.waiting import GUARD_S, until

QUICK = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=none",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def stopped(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


# ---------------------------------------------------------------------------- which launchers


@pytest.mark.parametrize("launcher", EXTRAS)
def test_a_launcher_whose_plug_in_is_missing_names_the_extra(
    launcher: str, monkeypatch, capsys
) -> None:
    installed = Plugins.instance().class_name_to_class
    others = {name: plug_in for name, plug_in in installed.items() if "_launcher" not in name}
    monkeypatch.setattr(Plugins.instance(), "class_name_to_class", others)
    assert stopped("search", "-m", *QUICK, "seed=0,1", f"hydra/launcher={launcher}") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"type python -m pip install -e '.[{EXTRAS[launcher]}]'" in message
    assert not Path("outputs").exists()


def test_slurm_without_slurm_and_unknown_launchers_say_what_to_type(monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", "")
    target = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    monkeypatch.setattr(Plugins.instance(), "class_name_to_class", {target: object})
    config: Any = SimpleNamespace(hydra=SimpleNamespace(launcher=SimpleNamespace(_target_=target)))
    with pytest.raises(UsageError, match="which has srun: hydra/launcher=submitit_local"):
        launchers.require_usable("submitit_slurm", config)
    with pytest.raises(UsageError, match="type one of hydra/launcher=joblib, "):
        launchers.require_usable("rq", config)


def test_only_a_sweep_is_resumed_with_a_launcher(capsys) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text("{}")
    assert stopped("resume", "run", "hydra/launcher=joblib") == 2
    assert "hydra/launcher=joblib is for a sweep, and run is none" in capsys.readouterr().err


def test_jobs_with_gaps_keep_their_numbers() -> None:
    """Launchers add the position to the first number."""
    numbers = Numbers([2, 3, 7])
    assert [numbers + position for position in range(3)] == [2, 3, 7]
    assert numbers == 2


def test_jobs_elsewhere_know_their_folders_wherever_they_are(monkeypatch, capsys) -> None:
    """A process of a running Ray cluster is in the folder in which the cluster was started."""
    given: list[Path] = []

    def work(_: Sweeper, home: Path, jobs: Sequence[Job]) -> None:
        given.extend([home, *(job.folder for job in jobs)])

    monkeypatch.setattr(Sweeper, "_work", work)
    main(["search", "-m", *QUICK, "seed=0,1", "hydra/launcher=joblib", "hydra.sweep.dir=s"])
    assert given == [Path.cwd() / "s", Path.cwd() / "s/0-s0", Path.cwd() / "s/1-s1"]
    assert "2 jobs in s: 2 not run" in capsys.readouterr().out  # as it was typed


# ---------------------------------------------------------------------------- shares of a machine


@pytest.mark.parametrize(
    ("wanted", "places", "expected"), [(-1, 4, 4), (-2, 4, 3), (-9, 4, 1), (6, 4, 6), (1, 4, 1)]
)
def test_how_many_jobs_run_at_once(wanted: int, places: int, expected: int) -> None:
    assert at_once(wanted, places) == expected
    with pytest.raises(UsageError, match="n_jobs=0: type how many jobs"):
        at_once(0, places)


@pytest.mark.parametrize(
    ("answer", "visible", "expected"),
    [
        ("3\n", None, ("0", "1", "2")), ("2\n", "5,GPU-7", ("5", "GPU-7")),
        ("1\n", "5,6", ("5",)), ("0\n", "", ()), ("", None, ()),
    ],
)  # fmt: skip
def test_gpus_are_named_as_jobs_will_know_them(
    answer: str, visible: str | None, expected: tuple[str, ...], monkeypatch
) -> None:
    monkeypatch.setattr(shares, "DRIVERS", ("null",))  # /dev/null is there
    said = SimpleNamespace(stdout=answer)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected
    monkeypatch.setattr(shares, "DRIVERS", ("no-such-driver*",))
    assert visible_gpus() == ()


def test_no_two_jobs_share_a_gpu_however_long_they_take(tmp_path) -> None:
    """The first job outlasts all others; by their numbers two of them would be on its GPU."""
    from joblib import Parallel, delayed

    gpus = ("a", "b")
    one = OneProcessEach(float, tmp_path / "slots", num_slots=2, gpus=gpus)
    config: Any = SimpleNamespace(device="auto")

    def job(number: int) -> str | None:
        with one._gpu(config, number) as gpu:
            (tmp_path / f"{number}.begun").touch()
            awaited = [f"{other}.done" for other in range(1, 5)] if number == 0 else ["0.begun"]
            until(lambda: all((tmp_path / name).exists() for name in awaited))
            (tmp_path / f"{number}.done").touch()
            return gpu

    first, *others = Parallel(n_jobs=2, pre_dispatch=2, batch_size=1)(
        delayed(job)(number) for number in range(5)
    )
    assert [first, *others] in (["a", "b", "b", "b", "b"], ["b", "a", "a", "a", "a"])


def test_a_job_that_names_its_device_sees_all_gpus(tmp_path) -> None:
    one = OneProcessEach(float, tmp_path, num_slots=2, gpus=("a", "b"))
    config: Any = SimpleNamespace(device="cuda:1")
    with one._gpu(config, 0) as gpu:
        assert gpu is None


def test_the_record_names_the_gpu(monkeypatch) -> None:
    device = Device("cpu", "auto", False)
    for number, text in ((1, "cpu (1 thread)"), (2, "cpu (2 threads)")):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        assert device.describe() == text
    device.torch = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert device.describe() == "cuda (A100, GPU 3)"


# ---------------------------------------------------------------------------- processes


def _fail() -> None:
    raise KeyError


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda: None, 0),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130),
        (_fail, 1),
    ],
    ids=["done", "killed", "interrupted", "failed"],
)
def test_how_a_forked_job_ends(work: Callable[[], None], code: int, capfd) -> None:
    assert placement._forked(work) == code
    assert placement._death(signal.SIGKILL).startswith("its process was killed (SIGKILL, by the")


def test_a_job_ends_with_the_process_that_started_it() -> None:
    reader, writer = os.pipe()  # at its end when all who could write are gone

    def job() -> None:
        os.write(writer, b"begun")
        time.sleep(GUARD_S)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking, from Python 3.12 on
        worker = os.fork()
    if worker == 0:
        placement._forked(job)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 9) == b"begun"
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert select.select([reader], [], [], GUARD_S)[0]
    assert os.read(reader, 9) == b""
    os.close(reader)


@pytest.mark.processes
def test_a_job_that_a_cluster_puts_back_is_gone_on_with(monkeypatch, capsys) -> None:
    """submitit leaves the process by `SystemExit`, and calls the job again with the same folder."""
    original = Checkpoint.save

    def save(self: Checkpoint, *arguments: Any, **keywords: Any) -> None:
        original(self, *arguments, **keywords)
        if self._folder.path.name == "1-s1":
            raise SystemExit(144)

    monkeypatch.setattr(Checkpoint, "save", save)
    words = ["population.size=2", "strategy.num_starts=1", "floor=false", "seed=0,1"]
    assert stopped("search", "-m", *QUICK, *words, "hydra.sweep.dir=s") == 144
    assert json.loads(Path("s/1-s1/run.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(Checkpoint, "save", original)
    main(["resume", "s"])
    assert "job 1 goes on" in capsys.readouterr().out
    assert json.loads(Path("s/1-s1/run.json").read_text())["status"] == "done"


# ---------------------------------------------------------------------------- the view


def record(number: int, status: str, **more: Any) -> None:
    folder = Path(str(number))
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"status": status, **more}))


def test_what_a_run_says_of_its_progress(tmp_path) -> None:
    assert progress_of(Path("0")) is None
    with RunFolder(Path("0")) as folder:
        Progress("search", "epoch", 9, 50).write(folder)
    assert progress_of(Path("0")) == Progress("search", "epoch", 9, 50)
    with RunFolder(Path("0/floor/random")) as folder:
        Progress("search", "round", 3, None).write(folder)
    os.utime("0/progress.json", (0, 0))
    found = progress_of(Path("0"))
    assert found is not None
    assert (str(found), found.share) == ("search round 3/?", None)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"phase": "a", "unit": "b", "done": "3"}'])
def test_a_damaged_progress_is_none(text: str) -> None:
    Path("0").mkdir()
    Path("0/progress.json").write_text(text)
    assert progress_of(Path("0")) is None


def test_the_view_tells_beginnings_and_ends(capsys) -> None:
    jobs = [Job(number, Path(str(number)), ["a=1", f"seed={number}"]) for number in range(3)]
    record(2, "interrupted")
    watch = Watch(jobs)
    seconds = iter([0.0, 10.0, 10.0])
    watch._pace = Pace(clock=lambda: next(seconds))
    record(0, "running")
    record(2, "running")
    Path("0/progress.json").write_text(
        '{"phase": "search", "unit": "epoch", "done": 3, "total": 4}'
    )
    watch._tell()
    assert capsys.readouterr().out == "job 0: a=1 seed=0\njob 2 goes on: a=1 seed=2\n"
    foot = watch._foot({0: progress_of(Path("0")), 2: None})
    assert foot == "0 of 3 jobs done, 2 running, 1 waiting, ETA 0:30"  # 0.75 of 3 took 10 s
    record(0, "done")
    record(2, "failed", error="no memory")
    watch._tell()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "job 0 is done\n",
        "nasrun: job 2 failed: no memory\n",
    )
    watch._pace = Pace()
    assert watch._foot({}).startswith("1 of 3 jobs done, 1 failed, 0 running, 1 waiting, ETA")
    assert watch._row(jobs[1], Progress("search", "epoch", 1, 4)) == (
        "job 1", "seed=1", "search epoch 1/4", 0.25, "",
    )  # fmt: skip

"""What the system denies, and who interrupts: a message, an exit code, a folder that goes on."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nasrun.cli.main import main
from nasrun.networks.toy import ToySupernet
from nasrun.runs import checkpoint
from nasrun.runs.folder import RunFolder
from nasrun.storage import durable
from nasrun.storage.event_file import EventFile
from nasrun.storage.tensor_files import read_tensors, write_tensors
from nasrun.training.update import WeightUpdate
from tests.commands.pictures import without_pictures

QUICK = ["space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "retrain=smoke"]
QUICK += ["strategy.num_starts=1", "population.size=2", "dataset.batch_size=16"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    monkeypatch.setattr(checkpoint, "MAX_SHARE_OF_TIME", float("inf"))  # one after each step


def search(*overrides: str, folder: str = "run") -> None:
    main(["search", *QUICK, *overrides, f"hydra.run.dir={folder}"])


def stopped(call: Callable[[], None]) -> int:
    with pytest.raises(SystemExit) as stop:
        call()
    return int(stop.value.code)


def read(path: Path | str) -> Any:
    return json.loads(Path(path).read_text())


def outcome(folder: Path | str) -> list[Any]:
    """Result and metrics, apart from times."""
    result = read(Path(folder) / "result.json")
    del result["search_seconds"], result["retrain"]["seconds"]
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    return [result, *({k: v for k, v in line.items() if "second" not in k} for line in metrics)]


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> list[Any]:
    """The outcome of the run that was left alone."""
    folder = tmp_path_factory.mktemp("twin") / "run"
    search(folder=str(folder))
    return outcome(folder)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A run that was interrupted in its second epoch."""
    folder = tmp_path_factory.mktemp("begun") / "run"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightUpdate, "step", nth(WeightUpdate.step, 4, interrupt))
        assert stopped(lambda: search(folder=str(folder))) == 130
    return folder


def nth(method: Callable[..., Any], number: int, act: Callable[[], None]) -> Callable[..., Any]:
    """The method, but that its n-th call acts first."""
    calls = 0

    def call(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return method(*arguments, **keywords)

    return call


# ---------------------------------------------------------------------------- the disk


@pytest.mark.parametrize("largest", [10, 8_000])
def test_files_that_cannot_grow_stop_a_run_that_goes_on_later(
    largest: int, twin: list[Any], capsys
) -> None:
    """The system writes what fits (a short write), and then fails: EFBIG, as real as ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        code = stopped(search)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message = capsys.readouterr().err
    assert code in (1, 2)
    assert message.startswith("nasrun: cannot write ")
    assert "File too large" in message
    assert message.count("\n") == 1
    main(["resume", "run"]) if Path("run/run.json").exists() else search()
    assert outcome("run") == twin


@pytest.mark.parametrize(
    ("number", "kind"), [(4, errno.ENOSPC), (15, errno.EIO), (41, errno.EDQUOT)]
)
def test_a_disk_that_fails_for_a_while(
    number: int, kind: int, twin: list[Any], monkeypatch, capsys
) -> None:
    def fail(*_: object) -> None:
        raise OSError(kind, os.strerror(kind))

    with monkeypatch.context() as disk:

        def full() -> None:  # and stays so: the run cannot even be marked as failed
            disk.setattr(durable.AppendedFile, "write", fail)
            disk.setattr(durable, "sync", fail)
            fail()

        sync = nth(durable.sync, number, full)
        disk.setattr(durable, "sync", sync)
        disk.setattr("nasrun.runs.folder.sync", sync)
        assert stopped(search) == 1
    message = capsys.readouterr().err
    assert f"{os.strerror(kind)}; when that is mended, `nasrun resume " in message
    assert message.count("\n") == 1
    if Path("run/run.json").exists():
        assert read("run/run.json")["status"] == "running"
        main(["resume", "run"])
    else:
        search()
    assert outcome("run") == twin


def test_the_first_failure_is_the_one_that_is_told(monkeypatch, capsys) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "weights")

    monkeypatch.setattr("nasrun.engine.search.write_tensors", fail)
    assert stopped(search) == 1
    assert "/run/model.pt: Read-only file system; when that is mended" in capsys.readouterr().err
    record = read("run/run.json")
    assert (record["status"], "model.pt" in record["error"]) == ("failed", True)
    assert "OSError" in Path("run/error.log").read_text()


def test_a_run_without_room_is_refused_with_numbers(monkeypatch, capsys) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    assert stopped(search) == 2
    message = capsys.readouterr().err
    assert "the run will write about 20 MB into " in message
    assert "/run, and the disk has 3 MB left: make room" in message
    assert not Path("run").exists()


def test_tensorboard_may_die(twin: list[Any], monkeypatch) -> None:
    def die() -> None:
        raise MemoryError

    monkeypatch.setattr(EventFile, "add", nth(EventFile.add, 9, die))
    search()
    assert outcome("run") == twin
    assert Path("run/search.log").read_text().count("TensorBoard has stopped (MemoryError())") == 1


def test_tensorboard_goes_on_behind_a_file_that_was_cut(twin: list[Any], monkeypatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WeightUpdate, "step", nth(WeightUpdate.step, 5, stop))
        assert stopped(search) == 130
    (events,) = Path("run/tensorboard").iterdir()
    os.truncate(events, events.stat().st_size - 7)  # in the middle of a record
    main(["resume", "run"])
    accumulator = EventAccumulator("run/tensorboard")
    accumulator.Reload()
    steps = [event.step for event in accumulator.Scalars("search/train_loss")]
    assert steps == [1, 2, 3]
    assert outcome("run") == twin


# ---------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_disturb_the_first(
    number: signal.Signals, twin: list[Any], monkeypatch, capsys
) -> None:
    """The first comes while a checkpoint is written, the second while the run is marked."""

    def strike() -> None:
        os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        write = nth(checkpoint.write_tensors, 2, strike)
        patch.setattr(checkpoint, "write_tensors", write)
        patch.setattr(RunFolder, "update", nth(RunFolder.update, 1, strike))
        assert stopped(search) == 130
    assert capsys.readouterr().err == "nasrun: interrupted; `nasrun resume run` goes on\n"
    assert read("run/run.json")["status"] == "interrupted"
    assert not list(Path("run").glob(".new-*"))
    main(["resume", "run"])
    assert outcome("run") == twin


def test_a_signal_that_is_ignored_stays_so(monkeypatch) -> None:
    """As under nohup, when the terminal is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    strike = nth(WeightUpdate.step, 3, lambda: os.kill(os.getpid(), signal.SIGHUP))
    monkeypatch.setattr(WeightUpdate, "step", strike)
    search()
    assert read("run/run.json")["status"] == "done"


def test_a_second_process_in_the_same_folder_says_who_has_it(capsys) -> None:
    code = "import sys; from pathlib import Path; from nasrun.runs.folder import RunFolder\n"
    code += "with RunFolder(Path('run')): print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    assert stopped(search) == 2
    who = f"run is in use by another nasrun process, {holder.pid} on "
    message = capsys.readouterr().err
    assert who in message
    assert "kill" not in message  # the other run is nothing to be sacrificed
    assert {path.name for path in Path("run").iterdir()} == {".lock"}  # it is not ours to remove
    holder.kill()
    holder.communicate()
    search()


def test_a_crash_between_the_result_and_the_mark(twin: list[Any], monkeypatch) -> None:
    class Crash(BaseException):
        pass

    def crash() -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "update", nth(RunFolder.update, 1, crash))
        with pytest.raises(Crash):
            search()
    assert outcome("run") == twin
    Path("run/run.json").write_text(json.dumps({**read("run/run.json"), "status": "running"}))
    main(["resume", "run"])
    assert read("run/run.json")["status"] == "done"
    assert outcome("run") == twin


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (
            ("work", "epoch"),
            "three",
        ),  # found by the fuzz harness: it was looked at by the next step
        (("work", "scorer", "num_scorings"), "many"),
        (("work", "scorer", "validation_stream", "order"), torch.arange(5) + 10**6),
        (("work", "alpha"), torch.zeros(3, dtype=torch.float64)),
        (("spent", "steps"), "one"),
        (("streams", "seed"), "none"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_a_state_of_another_type_is_one_sentence(place, value, begun: Path, capsys) -> None:
    shutil.copytree(begun, "run")
    content = read_tensors(Path("run/checkpoint.pt"))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    write_tensors(Path("run/checkpoint.pt"), content)
    capsys.readouterr()
    assert stopped(lambda: main(["resume", "run"])) == 2
    message = capsys.readouterr().err
    assert message.startswith("nasrun: ")
    assert message.count("\n") == 1
    assert "run/checkpoint.pt does not fit this run, or not this version of nasrun" in message


# ---------------------------------------------------------------------------- guards


def test_a_loss_that_is_not_finite_is_told_with_its_step(
    twin: list[Any], monkeypatch, capsys
) -> None:
    with monkeypatch.context() as patch:
        step = WeightUpdate.step
        calls = iter(range(100))

        def spoilt(self: WeightUpdate, loss: torch.Tensor) -> None:
            step(self, loss * float("nan") if next(calls) == 3 else loss)

        patch.setattr(WeightUpdate, "step", spoilt)
        assert stopped(search) == 1
    message = "search epoch 2: the training loss is nan at batch 2 of the epoch; lower "
    assert f"nasrun: {message}strategy.learning_rate\n" == capsys.readouterr().err
    record = read("run/run.json")
    assert (record["status"], record["error"]) == ("failed", f"{message}strategy.learning_rate")
    main(["resume", "run"])  # the checkpoint before it is sound
    assert outcome("run") == twin
    assert not Path("run/error.log").exists()


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """More than so many images at a time are too many."""
    forward = ToySupernet.forward

    def limited(self: ToySupernet, images_BCHW: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if len(images_BCHW) > most:
            raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you")
        return forward(self, images_BCHW, *rest, **more)

    monkeypatch.setattr(ToySupernet, "forward", limited)


def test_out_of_memory_says_what_to_lower(monkeypatch, capsys) -> None:
    short_of_memory(monkeypatch, 6)
    assert stopped(search) == 1
    assert capsys.readouterr().err == (
        "nasrun: search epoch 1: out of memory: the training of the supernet takes 16 images at a "
        "time on cpu; lower strategy.batch_size, space.channels or space.cells, or type "
        "on_oom=halve\n"
    )


def test_halves_are_remembered_told_and_resumed(monkeypatch, capsys) -> None:
    short_of_memory(monkeypatch, 6)
    search("on_oom=halve", folder="left_alone")
    result = read("left_alone/result.json")
    assert [warning.partition(";")[0] for warning in result["warnings"]][:2] == [
        "memory ran out: the training of the supernet goes on in 4 parts of a batch",
        "memory ran out: the scoring of candidates goes on in 4 parts of a batch",  # 21 images
    ]
    assert any("the retraining goes on in 16 parts" in warning for warning in result["warnings"])
    assert "goes on in 4 parts" in Path("left_alone/search.log").read_text()

    def stop() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WeightUpdate, "step", nth(WeightUpdate.step, 6, stop))
        assert stopped(lambda: search("on_oom=halve")) == 130
    main(["resume", "run"])
    assert outcome("run") == outcome("left_alone")


def test_settings_that_were_changed_are_named(capsys) -> None:
    search("retrain=none")
    record = read("run/run.json")
    Path("run/run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    config = Path("run/.hydra/config.yaml")
    config.write_text(config.read_text().replace("seed: 0", "seed: 1", 1))
    assert stopped(lambda: main(["resume", "run"])) == 2
    assert (
        "that the run began with (dataset.seed was 0 and is 1): put it back"
        in capsys.readouterr().err
    )

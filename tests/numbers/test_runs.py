"""Run folders, their locks, and checkpoints that survive a crash while they are written."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from nasrun.errors import UsageError
from nasrun.protocols.state import require_alike
from nasrun.randomness import RandomStreams
from nasrun.runs.checkpoint import FILE, PREVIOUS, Checkpoint
from nasrun.runs.folder import RunFolder
from nasrun.storage.durable import AppendedFile
from nasrun.storage.tensor_files import read_tensors
from nasrun.training.streams import BatchStream

SETTINGS = {"seed": 0}


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.write_json("result.json", {"a": 1})

        def half() -> None:
            with folder.replacing("result.json") as path:
                path.write_text("half")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            half()
        assert folder.read_json("result.json") == {"a": 1}
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "result.json"]


def test_a_folder_with_a_run_is_refused(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.start({"seed": 0})
        with pytest.raises(UsageError, match="holds a run already: `nasrun resume"):
            folder.start({"seed": 1})
        assert folder.read_json("run.json")["seed"] == 0
        assert folder.read_json("run.json")["status"] == "running"


def test_a_live_process_keeps_its_folder_and_a_dead_one_does_not(tmp_path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from nasrun.runs.folder import RunFolder
        with RunFolder(Path({str(tmp_path)!r})):
            print("locked", flush=True)
            sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(UsageError, match="in use by another nasrun process"):
        RunFolder(tmp_path).__enter__()
    holder.kill()
    holder.communicate()
    with RunFolder(tmp_path):
        pass


def test_append_only_files_are_cut_back(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        (tmp_path / "metrics.jsonl").write_text("one\n")
        (tmp_path / "tensorboard").mkdir()
        lengths = folder.append_only_lengths()
        assert lengths == {"metrics.jsonl": 4}
        (tmp_path / "metrics.jsonl").write_text("one\ntwo\n")
        (tmp_path / "tensorboard" / "events.1").write_text("x")
        folder.cut_back(lengths)
        assert (tmp_path / "metrics.jsonl").read_text() == "one\n"
        assert not (tmp_path / "tensorboard" / "events.1").exists()


def test_checkpoint_round_trip_with_streams(tmp_path) -> None:
    streams = RandomStreams(3)
    streams.numpy("search").random(4)
    with RunFolder(tmp_path) as folder:
        state = {"work": {"weights": torch.arange(3.0)}, "phase": "search"}
        Checkpoint(folder, SETTINGS, streams).save(state, always=True)
        expected = streams.numpy("search").random()
        fresh = RandomStreams(0)
        checkpoint = Checkpoint(folder, SETTINGS, fresh)
        loaded = checkpoint.load()
        assert loaded is not None
        checkpoint.restore_streams(loaded)
        assert torch.equal(loaded["work"]["weights"], torch.arange(3.0))
        assert fresh.numpy("search").random() == expected


def test_a_cut_checkpoint_gives_way_to_the_previous_one(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        checkpoint = Checkpoint(folder, SETTINGS, RandomStreams(0))
        assert checkpoint.load() is None
        for step in (1, 2):
            checkpoint.save({"step": step}, always=True)
        content = (tmp_path / FILE).read_bytes()
        (tmp_path / FILE).write_bytes(content[: len(content) // 2])
        assert checkpoint.load()["step"] == 1
        (tmp_path / PREVIOUS).unlink()
        assert checkpoint.load() is None


def saved(folder: RunFolder, *steps: int) -> Checkpoint:
    """With a line of metrics for each step."""
    checkpoint = Checkpoint(folder, SETTINGS, RandomStreams(0))
    for step in steps:
        with (folder.path / "metrics.jsonl").open("a") as file:
            file.write(f"step {step}\n")
        checkpoint.save({"step": step, "work": {"weights": torch.arange(2000.0)}}, always=True)
    return checkpoint


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path) -> None:
    """torch itself does not look at the checksums that it writes."""
    with RunFolder(tmp_path) as folder:
        checkpoint = saved(folder, 1)
        expected = checkpoint.load()
        content, rng = (tmp_path / FILE).read_bytes(), np.random.default_rng(0)
        noticed = 0
        for place in rng.permutation(len(content))[:300]:
            altered = bytearray(content)
            altered[place] ^= 1 << rng.integers(8)
            (tmp_path / FILE).write_bytes(altered)
            found = read_tensors(tmp_path / FILE)
            noticed += found is None
            assert found is None or str(found) == str(expected)
        assert noticed > 200  # the others are padding


def test_a_broken_checkpoint_is_told(tmp_path) -> None:
    told: list[str] = []
    with RunFolder(tmp_path) as folder:
        checkpoint = saved(folder, 1, 2)
        (tmp_path / FILE).write_bytes(b"half")
        assert checkpoint.load(told.append)["step"] == 1
        assert told == [f"{FILE} is broken: the run goes on from {PREVIOUS}"]
        assert (tmp_path / "metrics.jsonl").read_text() == "step 1\n"
        assert checkpoint.load(told.append)["step"] == 1  # and it is no longer in the way
        checkpoint.save({"step": 2}, always=True)
        assert read_tensors(tmp_path / PREVIOUS)["step"] == 1
        (tmp_path / PREVIOUS).unlink()
        (tmp_path / FILE).write_bytes(b"half")
        assert checkpoint.load(told.append) is None
        assert told[1:] == [f"{FILE} is broken: the run starts from its beginning"]


def test_two_broken_checkpoints_are_the_users_to_decide(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        checkpoint = saved(folder, 1, 2)
        for name in (FILE, PREVIOUS):
            (tmp_path / name).write_bytes(b"half")
        with pytest.raises(UsageError, match=rf"{FILE} is broken and {PREVIOUS} is broken; to st"):
            checkpoint.load()
        assert (tmp_path / "metrics.jsonl").read_text() == "step 1\nstep 2\n"  # left alone


def test_metrics_that_were_cut_take_the_checkpoint_with_them(tmp_path) -> None:
    told: list[str] = []
    with RunFolder(tmp_path) as folder:
        checkpoint = saved(folder, 1, 2)
        os.truncate(tmp_path / "metrics.jsonl", 10)  # in the middle of the second line
        assert checkpoint.load(told.append)["step"] == 1
        assert told[0].startswith(f"{FILE} has more lines than are left in metrics.jsonl: the run")
        assert (tmp_path / "metrics.jsonl").read_text() == "step 1\n"


def test_a_checkpoint_of_another_configuration_is_refused_by_its_keys(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        Checkpoint(folder, {"seed": 0, "a": 1, "b": 2}, RandomStreams(0)).save({}, always=True)
        other = Checkpoint(folder, {"seed": 1, "a": 1, "c": None}, RandomStreams(0))
        changes = "seed was 0 and is 1, b was 2 and is not there, c was not there and is None"
        with pytest.raises(UsageError, match=rf"belongs to another configuration .*\({changes}\)"):
            other.load()
        content = read_tensors(tmp_path / FILE)
        torch.save({**content, "format": 1}, tmp_path / FILE)
        with pytest.raises(UsageError, match="its format is 1, this version reads 2"):
            other.load()


def test_what_a_killed_process_was_writing_is_removed(tmp_path) -> None:
    (tmp_path / ".new-checkpoint.abcdefgh.pt").write_text("half")
    with RunFolder(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_a_lock_names_its_holder_while_it_is_held(tmp_path) -> None:
    with RunFolder(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()} {socket.gethostname()}\n"
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize(
    ("holder", "refusal"),
    [
        ("", None),
        ("999999999 {host}", None),  # no process has this number
        ("nonsense", None),
        ("{pid} {host}", r"process, {pid} on {host}: wait until it ends, or choose"),
        ("7 elsewhere", r"7 on elsewhere: .* if that machine is gone for good, delete .*\.lock"),
    ],
)
def test_where_the_file_system_has_no_locks_the_file_tells(
    holder: str, refusal: str | None, tmp_path, monkeypatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    names = {"pid": os.getppid(), "host": socket.gethostname()}
    (tmp_path / ".lock").write_text(holder.format(**names))
    if refusal is None:
        with RunFolder(tmp_path):
            pass
    else:
        with pytest.raises(UsageError, match=refusal.format(**names)), RunFolder(tmp_path):
            pass


def test_short_writes_are_finished(tmp_path, monkeypatch) -> None:
    class Stingy(io.FileIO):
        def write(self, content: bytes) -> int:
            return super().write(content[:3])

    file = AppendedFile(tmp_path / "log")
    file.close()
    file._file = Stingy(tmp_path / "log", "a")
    file.write(b"a line of the log\n")
    file.close()
    assert (tmp_path / "log").read_text() == "a line of the log\n"


def test_a_hostile_checkpoint_is_not_unpickled(tmp_path) -> None:
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    with RunFolder(tmp_path) as folder:
        torch.save({"format": 1, "payload": Payload()}, tmp_path / FILE)
        assert Checkpoint(folder, SETTINGS, RandomStreams(0)).load() is None
        assert not (tmp_path / "owned").exists()


def test_saving_is_skipped_only_while_it_would_cost_too_much(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        checkpoint = Checkpoint(folder, SETTINGS, RandomStreams(0))
        checkpoint.save({"step": 1}, always=False)
        checkpoint._cost_s = 3600.0
        checkpoint.save({"step": 2}, always=False)
        assert torch.load(tmp_path / FILE, weights_only=True)["step"] == 1
        checkpoint.save({"step": 3}, always=True)
        assert torch.load(tmp_path / FILE, weights_only=True)["step"] == 3


def test_broken_json_is_one_sentence(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        (tmp_path / "run.json").write_text('{"status": ')
        with pytest.raises(UsageError, match=r"run\.json is not valid JSON"):
            folder.read_json("run.json")


# ---------------------------------------------------------------------------- states of strangers

FRESH = {
    "epoch": 0, "rate": 0.5, "done": False, "alpha": torch.zeros(2), "order": torch.empty(0).long(),
    "predictor": None, "labels": [], "update": {"groups": [{"lr": 0.1}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"rate": 1, "predictor": {"a": 1}, "labels": ["x"], "order": torch.arange(3)}, None),
        ({"epoch": "three"}, "work.epoch is str, and should be int"),
        ({"epoch": True}, "work.epoch is bool, and should be int"),
        ({"epoch": 1.0}, "work.epoch is float, and should be int"),
        ({"rate": None}, "work.rate is NoneType, and should be float"),
        ({"done": 1}, "work.done is int, and should be bool"),
        ({"alpha": torch.zeros(3)}, "work.alpha has the shape [3], not [2]"),
        ({"alpha": [0.0, 0.0]}, "work.alpha is list, and should be Tensor of torch.float32"),
        ({"order": torch.zeros(3)}, "work.order is Tensor of torch.float32, and should be Tensor"),
        ({"labels": "word"}, "work.labels is str, and should be a list"),
        ({"update": {}}, "work.update lacks 'groups'"),
        ({"update": {"groups": [{"lr": "x"}]}}, "work.update.groups[0].lr is str, and should be f"),
    ],
)
def test_a_state_is_of_the_types_that_a_fresh_one_declares(change: dict, told: str | None) -> None:
    if told is None:
        require_alike(FRESH, {**FRESH, **change}, "work")
        return
    with pytest.raises(TypeError, match=f"^{re.escape(told)}"):
        require_alike(FRESH, {**FRESH, **change}, "work")


def test_an_order_of_other_images_is_refused_before_it_is_used() -> None:
    stream = BatchStream(None, range(3), None, torch.Generator(), augment=False)  # type: ignore[arg-type]
    stream.load_state_dict({"order": torch.tensor([2, 0, 1]), "position": 3})
    for order, position in (([0, 1], 0), ([0, 1, 3], 0), ([0, 1, 1], 0), ([0, 1, 2], 4)):
        with pytest.raises(ValueError, match="images"):
            stream.load_state_dict({"order": torch.tensor(order), "position": position})

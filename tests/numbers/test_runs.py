"""Run folders, their locks, and checkpoints that survive a crash while they are written."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from nasrun.checkpoint import FILE, PREVIOUS, Checkpoint
from nasrun.errors import UsageError
from nasrun.randomness import RandomStreams
from nasrun.runs import RunFolder

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
        from nasrun.runs import RunFolder
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


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path) -> None:
    with RunFolder(tmp_path) as folder:
        Checkpoint(folder, {"seed": 0}, RandomStreams(0)).save({}, always=True)
        with pytest.raises(UsageError, match="belongs to another configuration"):
            Checkpoint(folder, {"seed": 1}, RandomStreams(0)).load()


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

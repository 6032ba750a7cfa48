"""One run by two processes: as by one, and what happens when one of them is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nasrun.cli.main import main
from tests.waiting import GUARD_S, until

TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "-m",
    "nasrun",
]
SEARCH = ["search", "dataset.limit=100", "dataset.batch_size=25", "population=small", "device=cpu",
          "precision=float64"]  # fmt: skip
SMALL = [*SEARCH, "space=nasbench201", "space.channels=4", "space.cells=1", "retrain=smoke"]
REPOSITORY = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": REPOSITORY}
    return subprocess.Popen(
        [*TORCHRUN, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def two(*words: str) -> tuple[int, str]:
    """Exit code and what was said."""
    process = start(*words)
    said = "".join(process.communicate(timeout=GUARD_S))
    return process.returncode, said


def kill(parent: int, rank: int) -> None:
    """The process of a rank that torchrun has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of one that has ended meanwhile
            own = f"PPid:\t{parent}\n" in (folder / "status").read_text()
            if own and f"\0RANK={rank}\0".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def read(folder: str, name: str) -> Any:
    return json.loads(Path(folder, name).read_text())


def metrics(folder: str) -> list[dict[str, Any]]:
    lines = Path(folder, "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if "second" not in key}
        for line in lines
    ]


def require_alike(folder: str, other: str) -> None:
    """In float64; in float32 sums in another order lead elsewhere within an epoch or two."""
    for found, wanted in zip(metrics(folder), metrics(other), strict=True):
        numbers = {key: value for key, value in wanted.items() if isinstance(value, int | float)}
        assert {key: found[key] for key in numbers} == pytest.approx(numbers, rel=1e-6, abs=1e-6)
    assert read(folder, "genotype.json") == read(other, "genotype.json")
    results = [read(name, "result.json") for name in (folder, other)]
    assert results[0]["search_val_accuracy"] == results[1]["search_val_accuracy"]
    assert results[0]["retrain"]["test_accuracy"] == results[1]["retrain"]["test_accuracy"]


@pytest.mark.processes
def test_two_processes_search_and_retrain_as_one() -> None:
    code, said = two(*SMALL, "budget=smoke", "hydra.run.dir=two")
    assert code == 0, said
    assert said.count("search epoch 3/3") == 1  # only one of them speaks
    main([*SMALL, "budget=smoke", "hydra.run.dir=one"])
    require_alike("two", "one")
    assert read("two", "run.json")["processes"] == 2
    assert sorted(path.name for path in Path().iterdir()) == ["one", "two"]


@pytest.mark.processes
def test_two_processes_search_as_one_on_the_space_of_darts() -> None:
    words = [*SEARCH, "space=darts", "space.channels=4", "budget=smoke", "retrain=smoke"]
    code, said = two(*words, "hydra.run.dir=two")
    assert code == 0, said
    main([*words, "hydra.run.dir=one"])
    require_alike("two", "one")


@pytest.mark.processes
def test_a_lost_process_ends_the_run_which_one_process_goes_on_with() -> None:
    words = [*SMALL, "budget.epochs=12", "retrain=none"]
    process = start(*words, "hydra.run.dir=two")
    until(lambda: Path("two/checkpoint.pt").exists() or process.poll() is not None)
    kill(process.pid, rank=1)
    said = "".join(process.communicate(timeout=GUARD_S))
    assert process.returncode == 1
    assert "nasrun resume" in said
    assert read("two", "run.json")["status"] in ("failed", "interrupted")
    assert len(metrics("two")) < 12
    main(["resume", "two"])
    assert read("two", "run.json")["status"] == "done"
    assert [line["step"] for line in metrics("two")] == [*range(1, 13)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["search", "-m", "seed=0,1"], "torchrun shares one run out over its processes"),
        (["search", "hydra.mode=MULTIRUN", "seed=0,1"], "torchrun shares one run out"),
        (["show", "darts_v2"], "nasrun show needs one process only: leave torchrun out"),
    ],
)
def test_what_torchrun_cannot_share_is_refused(words, expected, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert expected in capsys.readouterr().err
    assert not list(Path().iterdir())

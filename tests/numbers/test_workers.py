"""Worker processes: whatever dies, and in whatever order they finish, every task has its answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nasrun.compute.workers import Died, Workers
from nasrun.errors import UsageError
from tests.made_workers import make
from tests.waiting import GUARD_S, until


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(make, 2)
    yield made
    made.close()
    assert running(made) == 0


def running(workers: Workers) -> int:
    processes = [one.process for one in workers._workers if one is not None]
    return sum(process.poll() is None for process in processes)


def test_a_death_costs_a_second_attempt_and_two_the_task(workers, tmp_path, capsys) -> None:
    tasks = [
        ("die", str(tmp_path / "once"), 1),
        ("wait", str(tmp_path / "always.1"), str(tmp_path / "mark")),  # for the last but one
        ("exit",),
        ("die", str(tmp_path / "always"), 9),
        ("where",),
    ]
    found = dict(workers.answers(tasks))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert [*found][:2] == [0, 2]  # as they are finished
    assert (found[0], found[1]) == ("alive", "waited")
    assert all(isinstance(found[place], Died) for place in (2, 3))
    assert str(found[2]) == "its worker process died twice (exit code 3)"
    assert str(found[3]) == "its worker process died twice (signal 9; out of memory?)"
    assert len(list(tmp_path.glob("always.*"))) == 2
    said = capsys.readouterr().err
    assert said.count("a worker process died (signal 9; out of memory?): a new one takes over") == 2
    assert said.count("exit code 3") == 1


def test_processes_start_when_they_are_needed_and_stay(workers) -> None:
    ((_, (number, num_threads, first)),) = workers.answers([("where",)])
    assert (number, num_threads) == (0, max(1, torch.get_num_threads() // 2))
    assert running(workers) == 1
    os.kill(first, signal.SIGKILL)  # between two tasks: no attempt of the next one
    until(lambda: running(workers) == 0)
    ((_, (*_, second)),) = workers.answers([("where",)])
    ((_, (*_, third)),) = workers.answers([("where",)])
    assert first != second == third
    assert list(workers.answers([])) == []


def test_what_a_worker_raises_is_raised_and_ends_all(workers, tmp_path) -> None:
    tasks = [("wait", "never", str(tmp_path / "mark")), ("refuse", "no such file")]
    with pytest.raises(UsageError) as caught:
        list(workers.answers(tasks))
    assert str(caught.value) == "no such file"
    assert "in refuse" in caught.value.__notes__[0]
    assert running(workers) == 0


PARENT = """
from nasrun.compute.workers import Workers
from tests.made_workers import make
Workers.threads = 1  # torch, which would tell, takes seconds to import
if __name__ == "__main__":
    try:
        list(Workers(make, 1).answers([("wait", "never", "mark")]))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(("number", "output"), [(signal.SIGKILL, ""), (signal.SIGINT, "interr")])
def test_a_worker_ends_with_its_parent(number: int, output: str, tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    paths = os.pathsep.join(map(str, [Path.cwd(), *sys.path]))
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    mark = tmp_path / "mark"
    until(mark.exists)
    os.killpg(parent.pid, number) if number == signal.SIGINT else parent.kill()
    out, err = parent.communicate(timeout=GUARD_S)  # which waits for all that could write into them
    assert out.startswith(output)
    assert err == ""

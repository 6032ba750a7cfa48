"""A sweep on a real cluster of Ray, of two nodes on this machine, to which much happens.

    pip install -e ".[test,ray]"
    pytest -m slow tests/long/test_ray.py

Its jobs are a search on the toy space; the last one holds many pictures for a test that is never
made, and so takes more memory than the processes of the cluster may.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import job as folder_of
from tests.started_sweeps import contents, ended, paused, start, statuses
from tests.waiting import until

SWEEP = [
    "space=toy", "dataset=synthetic", "dataset.num_train=64", "budget=smoke", "budget.epochs=120",
    "retrain=none", "floor=false", "population.size=4", "dataset.num_test=16,17,18,19,20,2000000",
]  # fmt: skip
NEEDED_BYTES = 2_000_000 * 8 * 8 * 4  # of the last job, at least
RAY = Path(sys.executable).with_name("ray")


class Cluster:
    """A head and one more node of this machine, each with places for two jobs."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def begin(self) -> None:
        port = self.address.rpartition(":")[2]
        self.start(
            "--head", f"--port={port}", f"--temp-dir={self.folder}", "--include-dashboard=false"
        )
        self.first_node = self.processes("raylet/raylet")
        self.start(f"--address={self.address}")

    def start(self, *words: str) -> None:
        words = (*words, "--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=0",
                 "--object-store-memory=80000000", "--disable-usage-stats")  # fmt: skip
        subprocess.run([RAY, "start", *words], check=True, capture_output=True, timeout=300)

    def processes(self, word: str = "") -> set[int]:
        """Processes of this cluster alone that have a word in their command line, and the children
        of such: some have written a title over their words."""
        lines = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                lines[int(path.name)] = (line, parent)
        names = (self.folder, self.address.rpartition(":")[2])
        ours = {one for one, (line, _) in lines.items() if any(name in line for name in names)}
        ours -= {os.getpid()}
        ours |= {one for one, (_, parent) in lines.items() if parent in ours}
        return {one for one in ours if word in lines[one][0]}

    def limit(self, num_bytes: int) -> None:
        """Limit the addresses of all that runs jobs, and of what will."""
        for process in self.processes("raylet/raylet") | self.processes("ray::"):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_AS, (num_bytes, resource.RLIM_INFINITY))

    def lose_a_node(self) -> None:
        for process in self.processes("raylet/raylet") - self.first_node:
            os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason='pip install -e ".[ray]"')
    # parts of Ray listen on all interfaces, whatever address it is given
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="ray_")  # short: the name of a socket is
    made = Cluster(folder)
    try:
        made.begin()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def addresses(process: int) -> int:
    """Bytes of addresses that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def record(job: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder_of("s", job) / "run.json").read_text())
    return found


@pytest.mark.slow
def test_whatever_happens_to_a_sweep_it_ends_with_what_a_serial_one_finds(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(start("search", "-m", *SWEEP, "hydra.sweep.dir=serial"))[0] == 0
    ray = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster.address}"]

    # one worker dies, one runs out of memory, and then the launcher is killed
    sweep = start("search", "-m", *SWEEP, *ray, "hydra.sweep.dir=s")
    dies, *others = paused("s", [0, 1, 2, 3])  # as many as the cluster has cores
    cluster.limit(max(map(addresses, others)) + NEEDED_BYTES * 2 // 3)
    os.kill(dies, signal.SIGKILL)
    for process in others[:2]:
        os.kill(process, signal.SIGCONT)
    until(lambda: statuses("s", 6)[5] in ("failed", "done"))
    assert "out of memory" in record(5)["error"]
    until(lambda: statuses("s", 6)[0] == "done")  # Ray has started it anew
    os.kill(sweep.pid, signal.SIGKILL)
    ended(sweep)

    # a node is lost while its jobs run; Ray runs them on the other one
    until(lambda: not cluster.processes("_run_job"))  # of the dead launcher
    cluster.limit(resource.RLIM_INFINITY)
    sweep = start("resume", "s", *ray)
    until(lambda: len(cluster.processes("_run_job")) > 0)
    cluster.lose_a_node()
    code, text = ended(sweep)
    assert code == 0, text
    assert contents("s") == contents("serial")

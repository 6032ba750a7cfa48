"""Kills runs at random moments and checks that, once resumed, nothing is lost.

Each trial starts a run or a sweep, ends it by SIGKILL, SIGTERM, SIGHUP or SIGINT (Ctrl-C, once or
twice), sometimes cuts the newest checkpoint or the metrics as a power failure would, resumes it,
perhaps kills it again, and compares it with a twin that was left alone: genotype, metrics and
evaluations (apart from times) and the retrained accuracy must be equal to the last digit. The last
line is a summary.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TIMES = ("second", "cost_s")  # parts of the keys of what differs from run to run

SMALL = ["dataset=synthetic", "dataset.num_train=128", "dataset.size=8", "retrain=smoke"]
SUPERNET = [*SMALL, "strategy=egnas", "budget.epochs=6", "population.size=4"]
JOBS = {
    "egnas_nasbench201": ["search", *SUPERNET, "space=nasbench201"],
    "egnas_darts": ["search", *SUPERNET, "space=darts", "space.cells=3"],
    "dclenas": [
        *("search", *SMALL, "strategy=dclenas", "evaluator.epochs=1", "budget.evaluations=14"),
        "predictor.contrast_steps=200",
    ],
    "retrain": ["retrain", "genotype=eg_nas_cifar10", *SMALL, "retrain.epochs=6"],
    "sweep": ["search", "-m", *SUPERNET, "space=nasbench201", "budget.epochs=3", "seed=0,1"],
}


@dataclass
class Run:
    """One run folder and the processes that work on it."""

    folder: Path
    words: list[str]
    environment: dict[str, str]

    @property
    def records(self) -> list[Path]:
        """What says that the work has begun, of the whole and of each job of a sweep."""
        names = ("run.json", "sweep.json")
        return [path for name in names for path in sorted(self.folder.rglob(name))]

    def start(self) -> subprocess.Popen[bytes]:
        if self.records:
            return self._process("resume", str(self.folder))
        where = "hydra.sweep.dir" if "-m" in self.words else "hydra.run.dir"
        return self._process(*self.words, f"{where}={self.folder}")

    def _process(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "nasrun", *words]
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=self.environment)

    @property
    def stamp(self) -> float:
        """When a record was last changed: a process that has started to work changes one."""
        return max((path.stat().st_mtime for path in self.records), default=0.0)

    def started(self) -> subprocess.Popen[bytes]:
        """A process that works, or that has ended."""
        before, process = self.stamp, self.start()
        while process.poll() is None and self.stamp == before:
            time.sleep(0.02)
        return process

    def finish(self) -> float:
        """Let it run to its end; returns seconds of work. Raises if it does not get there."""
        process = self.started()
        started = time.monotonic()
        code = process.wait(timeout=1800)
        if code != 0:
            raise RuntimeError(f"exit code {code}: {self.last_words()}")
        return time.monotonic() - started

    @property
    def done(self) -> bool:
        """Of a sweep: as many jobs are done as its record names."""
        jobs = [self.folder]
        if (self.folder / "sweep.json").exists():
            record = json.loads((self.folder / "sweep.json").read_text())
            jobs = [self.folder / job["folder"] for job in record["jobs"]]
        records = [job / "run.json" for job in jobs]
        return all(
            record.exists() and json.loads(record.read_text())["status"] == "done"
            for record in records
        )

    @property
    def num_lines(self) -> int:
        """Of metrics: how far the work has come."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.rglob("metrics.jsonl"))

    def kill(self, num_lines: int, after_s: float, *signals: signal.Signals) -> bool:
        """End it so many seconds after so many lines; `False` if it was faster."""
        process = self.started()
        while process.poll() is None and self.num_lines < num_lines:
            time.sleep(0.02)
        try:
            process.wait(after_s)
            return False
        except subprocess.TimeoutExpired:
            for one in signals:
                process.send_signal(one)
                time.sleep(0.05)
            process.wait(timeout=120)
            return True

    def cut(self, name: str, share: float) -> bool:
        """As if the machine had stopped while the newest file of that name was written: of a
        checkpoint such a share is left, of metrics such a share of the last line."""
        files = sorted(self.folder.rglob(name), key=lambda path: path.stat().st_mtime)
        if not files or files[-1].stat().st_size == 0:
            return False
        path, size = files[-1], files[-1].stat().st_size
        start = 0 if name == "checkpoint.pt" else size - len(path.read_bytes().splitlines()[-1])
        os.truncate(path, start + int(share * (size - start)))
        return True

    def last_words(self) -> str:
        log = self.folder.parent / f"{self.folder.name}.log"
        return log.read_text(errors="replace")[-500:]

    def outcome(self) -> dict[str, Any]:
        """All that must not depend on having been killed."""
        found = {}
        for record in self.folder.rglob("run.json"):
            where = record.parent.relative_to(self.folder)
            for name in ("genotype.json", "result.json", "metrics.jsonl", "evaluations.jsonl"):
                path = record.parent / name
                lines = path.read_text().splitlines() if path.exists() else []
                found[str(where / name)] = (
                    [json.loads(line) for line in lines]
                    if name.endswith("jsonl")
                    else json.loads("\n".join(lines))
                )
        return without_times(found)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if not any(time in key for time in TIMES)}
        return {key: without_times(one) for key, one in kept.items()}
    if isinstance(value, list):
        return [without_times(one) for one in value]
    return value


def trial(run: Run, twin: Run, seconds: float, chance: random.Random) -> list[str]:
    """Kill once or several times, then finish; returns what was done."""
    deeds, total = list[str](), twin.num_lines
    for _ in range(chance.choice((1, 1, 2, 3))):
        how, after_s = chance.choice(SIGNALS), chance.uniform(0, 0.5 * seconds / total)
        times = 2 if how == signal.SIGINT and chance.random() < 0.5 else 1
        line = run.num_lines + int(chance.random() * (total - run.num_lines))
        if not run.kill(line, after_s, *[how] * times):
            break
        deeds.append(f"{how.name}{' twice' * (times - 1)} {after_s:.1f} s after step {line}")
        # what is done was brought to the disk before it was called so
        if how == signal.SIGKILL and not run.done and chance.random() < 0.5:
            name = chance.choice(("checkpoint.pt", "metrics.jsonl"))
            if run.cut(name, chance.random()):
                deeds[-1] += f", {name} cut"
    if not run.done:
        run.finish()
    return deeds


def crash(num_trials: int, seed: int, names: Sequence[str]) -> int:
    """The number of trials in which something was lost; each trial is shown."""
    chance = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="crash_test_"))
    lost = num_kills = 0
    twins: dict[str, tuple[Run, float]] = {}
    for number in range(num_trials):
        name = names[number % len(names)]
        if name not in twins:
            twin = Run(home / f"{name}-twin", JOBS[name], environment(home / "cache-twin"))
            twins[name] = twin, twin.finish()
        twin, seconds = twins[name]
        expected = twin.outcome()
        # A cache of its own: an encoder that the twin left would skip the pre-training.
        run = Run(home / f"{number}", JOBS[name], environment(home / f"cache-{number}"))
        try:
            deeds = trial(run, twin, seconds, chance)
            found = run.outcome()
            equal = [key for key in expected if found.get(key) == expected[key]]
            verdict = "equal" if len(equal) == len(expected) else "LOST"
            verdict += "" if verdict == "equal" else f" ({set(expected) - set(equal)} differ)"
        except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            deeds, verdict = [], f"LOST ({error})"
        lost += verdict != "equal"
        num_kills += len(deeds)
        done = "; ".join(deeds) or "finished before it could be killed"
        print(f"{number + 1:3} {name:18} {verdict:8} {done}", flush=True)
    print(f"{num_trials} trials, {num_kills} kills, {num_trials - lost} equal, {lost} lost")
    if lost:
        print(f"the folders are kept in {home}")
    else:
        shutil.rmtree(home)
    return lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="in total, over all jobs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):  # in the background children would ignore them
        signal.signal(number, signal.default_int_handler)
    sys.exit(1 if crash(arguments.trials, arguments.seed, arguments.jobs) else 0)


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    main()

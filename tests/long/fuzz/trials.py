"""One trial after another: what a good ending is, and the place where trials happen."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nasrun.cli import main as cli
from nasrun.commands import resume, retrain, search
from nasrun.errors import UsageError
from nasrun.launch import job, prepare_retrain, prepare_search
from nasrun.protocols.result import Result
from tests.long.fuzz import files, folders, typed
from tests.long.fuzz.command_line import CommandLine, Kind, Trial
from tests.long.fuzz.values import TOY

SECONDS = 30  # of this process; ten times as many on the clock, of a machine that others use
MEGABYTES = 1_000  # that a trial may add to the most this process ever had
MAX_SENTENCE = 820
SECRET = "canary-in-the-environment"
TREASURE = {
    "precious",
    *(f"treasure/{name}" for name in ("metrics.jsonl", "search.log", "tensorboard/events")),
}

KINDS: Mapping[str, Kind] = {
    "overrides": typed.overrides,
    "names": typed.names,
    "genotypes": files.genotypes,
    "retrained": files.retrained,
    "datasets": files.datasets,
    "bombs": files.bombs,
    "tables": files.tables,
    "checkpoints": folders.checkpoints,
    "run folders": folders.run_folders,
    "sweeps": folders.sweeps,
    "config folders": folders.config_folders,
    "reports": folders.reports,
}
TYPED = ("overrides", "names")  # what is typed may refer to the environment
SHARES = dict(zip(KINDS, (25, 8, 12, 4, 12, 1, 8, 8, 10, 4, 5, 3), strict=False))


class Hang(BaseException):
    """Not an Exception, so that nobody takes it for a fault of a file."""


def attempt(trial: Trial) -> tuple[int, str, str]:
    """Exit code, standard output and error of a trial inside this process; raises what is a fault
    of the program."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0

    def ring(*_: object) -> NoReturn:
        raise Hang(f"it takes more than {SECONDS} s")

    signal.signal(signal.SIGPROF, ring)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(10 * SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            trial()
    except SystemExit as stopped:
        code = stopped.code
    except UsageError as error:  # of a trial that is no command line
        code = 2
        err.write(f"nasrun: {error}\n")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    number = code if isinstance(code, int) else 0 if code is None else 1
    return number, out.getvalue(), err.getvalue()


def fault_of(code: int, message: str, began: bool) -> str | None:
    """What is wrong with the way in which a trial has ended."""
    if "Traceback" in message:
        return f"a traceback: {message[-500:]}"
    if "\x1b" in message:
        return "control characters on the terminal"
    if code == 2:
        said = [line for line in message.splitlines() if not line.startswith("nasrun: warning")]
        if not said or not any(line.startswith("nasrun: ") for line in said):
            return f"exit code 2 without a sentence: {message[:300]}"
        if max(map(len, said)) > MAX_SENTENCE:
            return f"a sentence of {max(map(len, said))} letters: {message[:300]}"
        return "it refused, and left a run folder behind" if began else None
    return None if code in (0, 1) else f"exit code {code}: {message[-300:]}"


def run_trial(
    kind: str, number: int, seed: int, home: Path, *, in_process: bool
) -> tuple[str, str]:
    """(what became of it, what is wrong with that)."""
    chance = random.Random(f"{seed} {kind} {number}")
    folder = home / "trials" / str(number) / "here"
    folder.mkdir(parents=True)
    lay_out_treasure(folder.parent)
    os.chdir(folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trial = KINDS[kind](chance, home)
    known = begun(folder.parent)
    try:
        if in_process or not isinstance(trial, CommandLine):
            code, said, message = attempt(trial)
        else:
            code, said, message = trial.process()
        wrong = fault_of(code, message, bool(begun(folder.parent) - known)) or ""
        if SECRET in said + message and kind not in TYPED:
            wrong = "it shows a variable of the environment"
        outcome = {0: "done", 2: "refused"}.get(code, "failed")
    except (Exception, Hang, KeyboardInterrupt):
        outcome, wrong = "fault", traceback.format_exc(limit=-6)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024
    if not wrong and grown > MEGABYTES:
        wrong = f"it took {grown:,} MB"
    if list(folder.parent.rglob("owned")):
        wrong = "code from the input was run"
    if kind not in TYPED and (path := file_with_secret(folder.parent)):
        wrong = f"a variable of the environment stands in {path}"
    if treasure(folder.parent) != TREASURE:
        wrong = "a file outside its folder was touched"
    os.chdir(home)
    if not wrong:
        shutil.rmtree(folder.parent, ignore_errors=True)
    elif isinstance(trial, CommandLine):
        wrong = f"nasrun {' '.join(word[:200] for word in trial.words)!r}\n{wrong}"
    return ("fault" if wrong else outcome), wrong


def lay_out_treasure(folder: Path) -> None:
    """Write what no trial may touch: it looks like the records of a run."""
    for name in TREASURE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious\n")


def treasure(folder: Path) -> set[str]:
    """Names of what is left of it, and of what was added."""
    kept = {folder / "precious", *(folder / "treasure").rglob("*")}
    texts = {path: path.read_text() for path in kept if path.is_file()}
    return {str(path.relative_to(folder)) for path in texts if texts[path] == "precious\n"} | {
        f"{path} was changed" for path in texts if texts[path] != "precious\n"
    }


def file_with_secret(folder: Path) -> Path | None:
    """A file that the trial has left behind, with a variable of the environment in it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return next((path for path in paths if SECRET.encode() in path.read_bytes()), None)


def begun(folder: Path) -> set[Path]:
    """The run folders below; not those of jobs of a sweep that were refused, which say so."""
    records = (path for path in folder.rglob("run.json") if path.is_file())
    return {path for path in records if b"signature" in path.read_bytes()}


def without_work(prepare: Callable[..., job.Prepared]) -> Callable[..., job.Prepared]:
    """Everything but the run itself: what is accepted is not done, or one day would not do."""

    def prepare_only(*arguments: Any, **keywords: Any) -> job.Prepared:
        prepared = prepare(*arguments, **keywords)
        return dataclasses.replace(prepared, run=lambda _: RESULT)

    return prepare_only


CELL = {"nodes": ["in", "1", "2", "out"], "edges": [["a", 0, 1], ["b", 1, 2], ["c", 2, 3]]}
RESULT = Result.from_json(
    {
        "space": "toy",
        "dataset": "digits",
        "seed": 0,
        "genotype": {"space": "toy", "cells": {"cell": CELL}},
    }
)


@contextlib.contextmanager
def workplace(kinds: Collection[str]) -> Iterator[Path]:
    """A folder with a finished run, a sweep and a table that trials take copies of; nothing that
    belongs to the user is near."""
    home, before, environment = Path(tempfile.mkdtemp(prefix="fuzz_")), Path.cwd(), {**os.environ}
    os.environ |= {"SECRET": SECRET, "XDG_CACHE_HOME": str(home / "cache")}
    os.environ.pop("NASRUN_DATA", None)
    os.chdir(home)
    words = [*TOY, "retrain=smoke", "retrain.epochs=1"]
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(["search", *words, "hydra.run.dir=run"])
        if "sweeps" in kinds:
            cli.main(["search", "-m", *words, "seed=0,1", "hydra.sweep.dir=sweep"])
    for path in home.glob("**/run.json"):  # what is done would not be resumed
        if path.parent.name != "0-s0":
            path.write_text(path.read_text().replace('"status": "done"', '"status": "interrupted"'))
    np.savez("table.npz", **made_table())
    assert resume.PREPARE["search"] is prepare_search.prepare  # what is resumed is really run
    originals = prepare_search.prepare, prepare_retrain.prepare
    assert (search.prepare, retrain.prepare) == originals
    search.prepare, retrain.prepare = map(without_work, originals)
    try:
        yield home
    finally:
        search.prepare, retrain.prepare = originals
        os.chdir(before)
        os.environ.clear()
        os.environ |= environment


def made_table() -> dict[str, np.ndarray]:
    """All cells of NAS-Bench-201, with accuracies that nobody has measured."""
    rows_RE = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1).astype(np.uint8)
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    accuracy_R = np.linspace(10.0, 94.0, len(rows_RE))
    names = np.array(operations)
    return {"ops": rows_RE, "op_names": names, "cifar10_val_200": accuracy_R,
            "cifar10_test_200": accuracy_R}  # fmt: skip


def plan(num_trials: int, shares: Mapping[str, float]) -> list[str]:
    """A kind for each trial, mixed."""
    return random.Random(0).choices(list(shares), list(shares.values()), k=num_trials)


def fuzz(
    num_trials: int, seed: int, shares: Mapping[str, float], num_processes: int, first: int = 0
) -> int:
    """The number of trials that ended badly; each is shown, and its folder kept.

    Those before the `first` are left out, as they were made in another go.
    """
    counts: Counter[tuple[str, str]] = Counter()
    every = max(1, num_trials // num_processes) if num_processes else num_trials + 1
    with workplace(shares) as home, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, kind in islice(enumerate(plan(num_trials, shares)), first, None):
            in_process = number % every != every - 1
            outcome, wrong = run_trial(kind, number, seed, home, in_process=in_process)
            counts[kind, outcome] += 1
            counts["processes", "started"] += not in_process
            if wrong:
                print(f"--- trial {number}, {kind}: {wrong}", flush=True)
        num_faults = sum(count for (_, outcome), count in counts.items() if outcome == "fault")
        if num_faults:
            print(f"the folders of these trials are kept in {home}/trials")
        else:
            shutil.rmtree(home)
    for kind in shares:
        found = ", ".join(f"{counts[kind, outcome]} {outcome}" for outcome in OUTCOMES)
        print(f"{kind:16} {found}")
    total = Counter(outcome for kind, outcome in counts.elements() if kind in shares)
    found = ", ".join(f"{total[outcome]} {outcome}" for outcome in OUTCOMES)
    started = counts["processes", "started"]
    print(f"{num_trials - first} trials, {started} in processes of their own: {found}")
    return num_faults


OUTCOMES = ("done", "refused", "failed", "fault")

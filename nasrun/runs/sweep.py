"""Keep the record of a sweep: its jobs, what became of each, and the table at its end.

All of it is read from files, so that a sweep that ran through, one that was interrupted and one
that was resumed end with the same table.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nasrun.errors import UsageError
from nasrun.protocols.result import Result
from nasrun.runs.folder import RUN_FILE, RunFolder, Taken, now, read_json
from nasrun.runs.result_file import read_result
from nasrun.terminal import console
from nasrun.terminal.text import command

SWEEP_FILE = "sweep.json"
MOST_NAMED = 5  # jobs that share a problem


@dataclass(frozen=True)
class Job:
    """One combination of settings; `overrides` are those of the job alone, without commas."""

    number: int
    folder: Path
    overrides: Sequence[str]

    def record(self) -> Mapping[str, Any]:
        """Read `run.json`; empty where the job was never begun. A broken file is a failure."""
        if not (self.folder / RUN_FILE).exists():
            return {}
        try:
            record = read_json(self.folder / RUN_FILE)
        except UsageError as error:
            return {"status": "failed", "error": str(error)}
        return record if isinstance(record, dict) else {"status": "failed", "error": "no record"}

    def result(self) -> Result | None:
        """Read the result of a finished job; `None` where there is none, or a damaged one."""
        try:
            return read_result(self.folder)
        except UsageError:
            return None


@dataclass(frozen=True)
class Sweep:
    """The record of a sweep.

    Args:
        kind: the command: `search` or `retrain`.
        command: the command line as it was typed.
        arguments: what Hydra was given, for going on.
        cwd: the folder that it was started in, which relative paths refer to.
        plugins: name -> checksum of those from outside that were typed; as it is in the file.
    """

    home: Path
    kind: str
    command: str
    arguments: Sequence[str]
    jobs: Sequence[Job]
    cwd: str | None = None
    plugins: Any = None

    def write(self, folder: RunFolder) -> None:
        """Write the record of a new sweep into its folder."""
        jobs = [
            {
                "number": job.number,
                "folder": str(job.folder.relative_to(self.home)),
                "overrides": list(job.overrides),
            }
            for job in self.jobs
        ]
        record: dict[str, Any] = {
            "command": self.command,
            "kind": self.kind,
            "arguments": list(self.arguments),
        }
        record |= {"cwd": self.cwd, "started": now(), "jobs": jobs}
        record |= {"plugins": self.plugins} if self.plugins else {}
        folder.write_json(SWEEP_FILE, record)

    def require_folders(self) -> None:
        """Raise a `UsageError` unless each job has a folder of its own, inside the sweep."""
        taken = {self.home: "the sweep itself"}
        for job in self.jobs:
            if job.folder in taken or not job.folder.is_relative_to(self.home):
                where = taken.get(job.folder, "something outside the sweep")
                raise UsageError(
                    f"hydra.sweep.subdir gives job {job.number} the folder {job.folder}, which is "
                    f"that of {where}: leave it out, or add ${{hydra.job.num}} to it"
                )
            taken[job.folder] = f"job {job.number}"

    def at(self, home: Path) -> Sweep:
        """Return the same sweep in another folder."""
        jobs = [replace(job, folder=home / job.folder.relative_to(self.home)) for job in self.jobs]
        return replace(self, home=home, jobs=jobs)

    def require_new_at(self, home: Path) -> None:
        """Raise `Taken` for a folder that holds a sweep or a run already."""
        if (home / SWEEP_FILE).exists():
            raise Taken(
                f"{home} holds a sweep already: `{command('nasrun', 'resume', home)}` goes on with "
                "it, another hydra.sweep.dir starts a new one"
            )
        for path in (home, *(job.folder for job in self.at(home).jobs)):
            if (path / RUN_FILE).exists():
                raise Taken(
                    f"{path} holds a run already: start the sweep in another hydra.sweep.dir"
                )


def read_sweep(home: Path) -> Sweep:
    """Read the record of the sweep in a folder; raise `UsageError` where there is none."""
    record = read_json(home / SWEEP_FILE)
    try:
        jobs = [
            Job(_whole(job["number"]), _inside(home, job["folder"]), _texts(job["overrides"]))
            for job in record["jobs"]
        ]
        kind, command = str(record["kind"]), str(record["command"])
        if not jobs or any(len({*each}) < len(jobs) for each in _identities(jobs)):
            raise ValueError
        cwd = record.get("cwd")
        if not isinstance(cwd, str | None):
            raise ValueError
        arguments = _texts(record["arguments"])
        return Sweep(home, kind, command, arguments, jobs, cwd, record.get("plugins"))
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{home / SWEEP_FILE} is not the record of a sweep") from None


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 10**9:
        raise ValueError
    return value


def _identities(jobs: Sequence[Job]) -> tuple[Iterable[int], Iterable[Path]]:
    """Return what no two jobs of a sweep may have in common."""
    return (job.number for job in jobs), (job.folder for job in jobs)


def _inside(home: Path, name: str) -> Path:
    """Return a folder inside the sweep; raise `ValueError` for any other.

    A record may come from a stranger, and must name no folder elsewhere, nor a link to one.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError
    if not Path(os.path.realpath(home / name)).is_relative_to(os.path.realpath(home)):
        raise ValueError
    return home / name


def show(home: Path, jobs: Sequence[Job], launcher: Sequence[str] = ()) -> None:
    """Show the table at the end: a row per job with the settings in which they differ.

    Below it stand why some jobs failed, and what to type next: `launcher` are the words that choose
    who runs the jobs, which a resumed sweep takes again.
    """
    settings, keys = _settings(jobs)
    records = [job.record() for job in jobs]
    statuses = [str(record.get("status", "not run")) for record in records]
    results = [job.result() for job in jobs]
    regrets = [_regret(result) for result in results]
    on_table = any(regrets)
    rows = [
        [str(job.number), *(item.get(key, "") for key in keys), *_figures(result),
         *([regret or "-"] if on_table else []), status]
        for job, item, result, regret, status in zip(
            jobs, settings, results, regrets, statuses, strict=True
        )
    ]  # fmt: skip
    figures = ["val acc %", "test acc %", "params", "search s", *(["regret %"] * on_table)]
    columns = ["job", *keys, *figures, "status"]
    counts = ", ".join(f"{count} {status}" for status, count in Counter(statuses).items())
    console.table(f"\n{len(jobs)} jobs in {home}: {counts}", columns, rows)
    console.say("")
    reasons: dict[str, list[int]] = {}
    for job, record in zip(jobs, records, strict=True):
        if record.get("status") == "failed":
            reason = " ".join(str(record.get("error")).split())
            reasons.setdefault(reason, []).append(job.number)
    for reason, numbers in reasons.items():
        console.say(f"{named(numbers)} failed: {reason}")
    if set(statuses) != {"done"} and (home / SWEEP_FILE).exists():
        console.say(f"next  {command('nasrun', 'resume', home, *launcher)}")
    console.say(f"next  {command('nasrun', 'report', home)}")
    console.say(f"      {command('tensorboard', '--logdir', home)}")


def named(numbers: Sequence[int]) -> str:
    """Name jobs by their numbers.

    >>> named([3]), named(range(9))
    ('job 3', 'jobs 0, 1, 2, 3, 4 and 4 more')
    """
    first = ", ".join(str(number) for number in numbers[:MOST_NAMED])
    more = len(numbers) - MOST_NAMED
    return f"job{'s' * (len(numbers) > 1)} {first}" + (f" and {more} more" if more > 0 else "")


def ended_with(result: Result | None) -> str:
    """Say how good a result is, behind a colon: its regret, or the best accuracy that is known."""
    if result is None:
        return ""
    if regret := _regret(result):
        return f": regret {regret}%"
    for name, value in (("test", result.test_accuracy), ("val", result.search_val_accuracy)):
        if value is not None:
            return f": {name} accuracy {_percent(value)}%"
    return ""


def differing(jobs: Sequence[Job]) -> list[str]:
    """Return the settings of each job, as they were typed, that are not those of all."""
    settings, keys = _settings(jobs)
    return [" ".join(f"{key}={item[key]}" for key in keys if key in item) for item in settings]


def _settings(jobs: Sequence[Job]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the settings of each job, and the keys in which they differ."""
    settings = [
        dict(override.lstrip("+").partition("=")[::2] for override in job.overrides) for job in jobs
    ]
    return settings, [key for key in settings[0] if len({item.get(key) for item in settings}) > 1]


def _figures(result: Result | None) -> list[str]:
    if result is None:
        return ["-"] * 4
    return [
        _percent(result.search_val_accuracy),
        _percent(result.test_accuracy),
        "-" if result.retrain is None else f"{result.retrain.params:,}",
        f"{result.search_seconds:.1f}",
    ]


def _regret(result: Result | None) -> str:
    table = None if result is None else result.table
    return "" if table is None else _percent(table.regret)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"

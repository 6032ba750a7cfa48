"""Read run folders for a report: count what is finished, list the rest with its reason.

A folder may be of any age and in any state, and may come from strangers: nothing in it is trusted
to be there, to be whole, or to be of the right type.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from nasrun.config.renamed import with_present_targets
from nasrun.config.untrusted_yaml import MAX_CONFIG_BYTES, leaves, parse
from nasrun.errors import UsageError
from nasrun.runs.choices import recorded_choices
from nasrun.runs.folder import RUN_FILE, read_json, read_text
from nasrun.runs.progress import progress_of
from nasrun.terminal.text import command, printable

SEED_LINE = re.compile(r"^seed: ([0-9]{1,10})$", re.MULTILINE)
SWEEP_FILE, JOBS_FILE = "multirun.yaml", "sweep.json"  # records of a sweep: Hydra's, and ours
NUMBERS = (float, int)
TRACES = {RUN_FILE, "result.json", "metrics.jsonl"}  # any of them makes a folder one of a run


@dataclass(frozen=True)
class LeftOut:
    """A folder whose run is not counted."""

    folder: Path
    status: str  # running, failed, interrupted, not begun, damaged, incomplete, repeated
    reason: str


@dataclass(frozen=True)
class Run:
    """A finished run.

    `config` is flat: dotted keys and plain values, as recorded with all interpolations resolved.
    """

    folder: Path
    record: Mapping[str, Any]
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    config_text: str
    notes: list[str] = field(default_factory=list)

    @cached_property
    def overrides(self) -> dict[str, str]:
        """Return what was typed, by key; `+key=value` and `++key=value` count as `key=value`."""
        words = self.record.get("overrides")
        typed = words if isinstance(words, list) else []
        pairs = (str(word).lstrip("+").partition("=") for word in typed)
        return {key: value for key, equals, value in pairs if equals}

    @cached_property
    def choices(self) -> Mapping[str, str]:
        """Read the option of each group; only where the overrides do not tell."""
        return recorded_choices(self.folder)

    @property
    def kind(self) -> str:
        return self.text("kind", source=self.record) or "search"

    @property
    def seed(self) -> int | None:
        seed = number(self.result, "seed")
        return None if seed is None else int(seed)

    @property
    def dataset(self) -> str:
        return self.text("dataset") or "unknown"

    @property
    def space(self) -> str:
        return self.text("space") or "unknown"

    @property
    def knowledge(self) -> list[str]:
        """Read what the search knew of architectures before any label."""
        names, proxy = self.result.get("knowledge"), self.text("proxy")
        computed = "" if proxy is None else f" by {proxy}"  # else a table's, as in earlier versions
        known = sorted(map(shown, names)) if isinstance(names, list) else []
        return [f"{name}{computed}" if name == "zero_cost" else name for name in known]

    @property
    def device(self) -> str:
        return self.text("device", source=self.record) or "unknown"

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def finished(self) -> str:
        return self.text("finished", source=self.record) or ""

    @property
    def front(self) -> list[dict[str, float]]:
        """Read the values of each architecture of a front, the chosen one's first."""
        members = self.result.get("front")
        values = [
            member["values"]
            for member in (members if isinstance(members, list) else ())
            if isinstance(member, Mapping) and isinstance(member.get("values"), Mapping)
        ]
        return [
            {
                shown(name): figure
                for name, value in one.items()
                if (figure := finite(value)) is not None
            }
            for one in values
        ]

    @property
    def objectives(self) -> dict[str, tuple[str, bool]]:
        """Map each objective that was recorded to its unit, and to whether less is better."""
        listed = self.record.get("objectives")
        return {
            shown(one.get("name")): (
                shown(one.get("unit") or ""),
                one.get("direction") != "maximise",
            )
            for one in (listed if isinstance(listed, list) else ())
            if isinstance(one, Mapping)
        }

    def number(self, *keys: str) -> float | None:
        return number(self.result, *keys)

    def text(self, key: str, source: Mapping[str, Any] | None = None) -> str | None:
        value = (self.result if source is None else source).get(key)
        return shown(value) if isinstance(value, str) and value else None


def shown(text: object) -> str:
    """Return one line that a terminal, an encoder and a page can take, whatever a file says."""
    return printable(" ".join(str(text).split()))


def number(source: object, *keys: str) -> float | None:
    """Return a finite number inside nested mappings; `None` for everything else."""
    for key in keys:
        source = source.get(key) if isinstance(source, dict) else None
    return finite(source)


def finite(value: object) -> float | None:
    """Return a finite number as a float; `None` for everything else, true and false too."""
    if type(value) is float:  # nearly all of them
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, NUMBERS):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


Collected: TypeAlias = tuple[list[Run], list[LeftOut]]
"""What can be compared, and what cannot."""


def collect(folders: Sequence[Path]) -> Collected:
    """Collect all runs in and below `folders`.

    Raises:
        UsageError: a folder does not exist, or holds neither a run nor a sweep.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for folder in folders:
        found = list(_run_folders(folder))
        if not found:
            raise UsageError(f"{folder} holds no run: give run or sweep folders, like outputs")
        for item in found:
            path = item.folder if isinstance(item, LeftOut) else item
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            outcome = item if isinstance(item, LeftOut) else read(item)
            if isinstance(outcome, Run):
                runs.append(outcome)
            else:
                left_out.append(outcome)
    return runs, left_out


def _run_folders(top: Path) -> Iterator[Path | LeftOut]:
    """Yield the run folders in the order in which a person would list them.

    What lies inside a run folder (its floors) belongs to that run.
    """
    if not top.is_dir():
        raise UsageError(f"{top} is not a folder: give run or sweep folders, like outputs")
    unreadable: list[OSError] = []
    for path, folders, files in os.walk(top, onerror=unreadable.append):
        here = Path(path)
        if TRACES.intersection(files) or ".hydra" in folders:
            folders.clear()
            yield here
            continue
        beside = [] if here == top or folders or files else os.listdir(here.parent)
        if SWEEP_FILE in beside and JOBS_FILE not in beside:
            yield LeftOut(here, "damaged", f"the folder is empty: it has no {RUN_FILE}")
        if JOBS_FILE in files:
            yield from _not_begun(here)
        folders[:] = sorted(
            (name for name in folders if not name.startswith(".")), key=lambda n: (len(n), n)
        )
    for error in unreadable:
        yield LeftOut(Path(error.filename), "damaged", f"cannot be read: {error.strerror}")


def _not_begun(sweep: Path) -> Iterator[LeftOut]:
    """Yield the jobs that a sweep has planned and that have left no trace."""
    try:
        jobs = _mapping(sweep / JOBS_FILE).get("jobs")
        names = [Path(job["folder"]) for job in jobs]  # type: ignore[union-attr]
    except (UsageError, LookupError, TypeError):
        yield LeftOut(sweep, "damaged", f"{JOBS_FILE} is not the record of a sweep")
        return
    for name in names:
        inside = not name.is_absolute() and ".." not in name.parts
        if inside and not any((sweep / name / trace).exists() for trace in TRACES):
            yield LeftOut(
                sweep / name, "not begun", f"{command('nasrun', 'resume', shown(sweep))} runs it"
            )


def read(folder: Path) -> Run | LeftOut:
    """Read one run folder."""
    try:
        record = _mapping(folder / RUN_FILE)
        status = record.get("status")
        if status != "done":
            return _unfinished(folder, record, status)
        result = _mapping(folder / "result.json")
        text = read_text(folder / ".hydra" / "config.yaml", MAX_CONFIG_BYTES)
        config = _flat(text)
    except UsageError as error:
        return LeftOut(folder, "damaged", shown(str(error).replace(f"{folder}/", "")))
    return Run(folder, record, result, config, text)


def _unfinished(folder: Path, record: Mapping[str, Any], status: object) -> LeftOut:
    """Say why the run of a folder is not counted."""
    goes_on = f"{command('nasrun', 'resume', shown(folder))} goes on"
    if status == "running":
        started = shown(record.get("started", "an unknown time"))
        progress = progress_of(folder)
        far = "" if progress is None else f", at {shown(progress)}"
        return LeftOut(folder, "running", f"since {started}{far}; if it was killed, {goes_on}")
    if status == "interrupted":
        return LeftOut(folder, "interrupted", goes_on)
    if status == "failed":
        lines = str(record.get("error") or "no reason is recorded").splitlines()
        return LeftOut(folder, "failed", shown(lines[0] if lines else "")[:200])
    return LeftOut(folder, "damaged", f"{RUN_FILE} has no status that is known")


def _mapping(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} is not a JSON object")
    return content


def _flat(text: str) -> dict[str, Any]:
    """Return a configuration by dotted keys.

    The jobs of a sweep differ in little but the seed, so that each text is parsed once for all
    seeds.
    """
    seeds = SEED_LINE.findall(text)
    if len(seeds) != 1:
        return dict(_flat_leaves(text))
    return {**_flat_leaves(SEED_LINE.sub("seed: 0", text)), "seed": int(seeds[0])}


@lru_cache(maxsize=64)
def _flat_leaves(text: str) -> Mapping[str, Any]:
    return with_present_targets(dict(leaves(parse(text, Path(".hydra/config.yaml")))))

"""Give a run its tracker, and find before it begins what keeps the tracker from recording.

A new run is refused then. A run that has begun, and a job of a sweep, never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from nasrun.config import plugins, schema
from nasrun.config.identity import leaves
from nasrun.errors import brief, raise_together
from nasrun.launch import places
from nasrun.protocols.tracker import TrackedRun, Tracker
from nasrun.runs.folder import RUN_FILE, RunFolder
from nasrun.runs.sweep import SWEEP_FILE
from nasrun.runs.tracking import TrackerThread, Tracking, answered
from nasrun.terminal import console
from nasrun.terminal.text import command

if TYPE_CHECKING:
    from nasrun.engine.wiring import Wiring

GROUP = "tracker"
DEPTH = 4  # folders above that of a job in which its sweep is looked for


@dataclass(frozen=True)
class TrackerOfRun:
    """The tracker of a run that has not begun.

    `node` is its configuration; `name`, `settings` and `tags` are what it is told of the run.
    """

    node: schema.PluginNode
    name: str | None
    settings: Mapping[str, object]
    tags: Mapping[str, str]

    def require(self) -> None:
        """Raise a `UsageError` where it cannot record."""
        raise_together(problems(self.node))

    def run_in(self, folder: Path, record: Mapping[str, Any]) -> TrackedRun:
        """Return what it is told of the run in a folder, with the record that is there."""
        known = {key: str(record[key]) for key in ("command", "commit") if record.get(key)}
        return TrackedRun(
            self.name or folder.name, sweep_of(folder), self.settings, {**self.tags, **known}
        )


def of_run(
    settings: schema.SearchConfig | schema.RetrainCommandConfig,
    config: DictConfig,
    choices: Mapping[str, str],
    wiring: Wiring,
    kind: str,
) -> TrackerOfRun | None:
    """Return the tracker of a run, `None` without one; of several processes the first has it.

    Args:
        config: the same settings as they were composed.
        choices: group -> chosen option.
        kind: the command.
    """
    if settings.tracker is None or not wiring.device.group.is_first:
        return None
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    chosen = {name: one for name, one in choices.items() if "/" not in name and one is not None}
    values = {**chosen, **dict(leaves(plain))}
    told = {
        key: value
        for key, value in values.items()
        if key.partition(".")[0] != GROUP and not key.endswith(("._target_", "._partial_"))
    }
    tags = {"space": wiring.space.name, "dataset": wiring.dataset_name, "seed": str(settings.seed)}
    if isinstance(settings, schema.SearchConfig):
        tags["strategy"] = plugins.option(settings.strategy)
    return TrackerOfRun(settings.tracker, settings.name, told, {"kind": kind, **tags})


def begin(tracked: TrackerOfRun | None, tell: Callable[[str], None], folder: RunFolder) -> Tracking:
    """Begin to record a run, or go on with it, and say where; do nothing without a tracker."""
    if tracked is None:
        return Tracking()
    option = plugins.option(tracked.node)
    run = tracked.run_in(folder.path, folder.read_json(RUN_FILE))
    thread = TrackerThread(_built(tracked.node), option, folder, run)
    if thread.place:
        tell(f"tracker={option}: {thread.place}")
    return thread


def problems(node: object) -> Iterator[str]:
    """Yield a sentence where a tracker cannot record: for want of a package, or of a server."""
    if not isinstance(node, schema.PluginNode):
        return
    option, tracker = plugins.option(node), _built(node)
    missing = plugins.not_installed(tracker.needs)
    if missing:
        packages = " ".join(missing)
        yield (
            f"tracker={option} needs {', '.join(missing)}: type python -m pip install {packages}, "
            "or leave tracker out"
        )
    elif (failed := answered(tracker.reach)) is not None:
        yield f"tracker={option} cannot record: {failed}; mend that, or leave tracker out"


def without_address(config: DictConfig, typed: Mapping[str, str], folder: Path) -> DictConfig:
    """Return a recorded configuration without its tracker, where that has an address nobody typed.

    The record may be a stranger's, and what the tracker's library sends there may be secrets of
    this machine. A tracker of this machine, or of an address in the environment, is kept.

    Args:
        typed: key -> where it is, as the person says who goes on with the run.
    """
    found = addresses(config)
    new = [key for key in found if key not in typed]
    if not new:
        return config
    console.complain(
        f"warning: {new[0]}={brief(found[new[0]])} is an address in a file, and nothing is sent "
        f"there unless you say so: {command('nasrun', 'resume', folder)} {new[0]}=... records on"
    )
    without = config.copy()
    without.tracker = None
    return without


def addresses(config: DictConfig) -> dict[str, str]:
    """Return key -> value of each address that the tracker of a configuration has."""
    named = places.named(config)
    return {key: value for key, value in named if places.is_address(key) and value is not None}


def _built(node: schema.PluginNode) -> Tracker:
    tracker: Tracker = plugins.build(node)
    return tracker


def sweep_of(folder: Path) -> str | None:
    """Return the name of the sweep that a folder is a job of: of its folder, and of the day.

    `None` for a run of its own.
    """
    for home in list(folder.absolute().parents)[:DEPTH]:
        if (home / SWEEP_FILE).is_file():
            return f"{home.parent.name}/{home.name}"
    return None

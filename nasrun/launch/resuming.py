"""Go on with a run that has begun, wherever it was started and wherever its data are by now."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import OmegaConf

from nasrun.compute import torchrun
from nasrun.config import identity, outside
from nasrun.config.renamed import with_present_targets
from nasrun.errors import UsageError
from nasrun.launch import places as located
from nasrun.launch import tracker
from nasrun.launch.interruption import in_words
from nasrun.launch.replay import Source, is_setting, load_config, load_recorded
from nasrun.launch.supervision import Prepare, Prepared, require_space, supervise
from nasrun.protocols.result import Result
from nasrun.runs.choices import recorded_choices
from nasrun.runs.folder import RUN_FILE, RunFolder, read_json
from nasrun.terminal import console
from nasrun.terminal.text import command


def go_on(path: Path, prepare: Prepare, given: Mapping[str, str] = MappingProxyType({})) -> Result:
    """Go on with a run that has begun, from its last checkpoint; return its result.

    Args:
        given: of its files, key -> where they are now.

    Raises:
        UsageError: what is recorded is not what it began with, or cannot be read.
    """
    record = read_json(path / RUN_FILE)
    overrides = record.get("overrides")
    if not isinstance(overrides, list) or not all(map(is_setting, overrides)):
        raise UsageError(f"{path / RUN_FILE} is not the record of a run")
    tell_of_plugins(record.get("plugins"), path)
    with _workplace(path) as folder, in_words():
        moved = {**located.moved_of(record), **given}
        prepared = _prepared_where_it_is(path, record, prepare, moved, given)
        if record.get("signature") != _signature_then(path, prepared):
            raise UsageError(
                f"{path}/.hydra/config.yaml is no longer the configuration that the run began "
                f"with{_changes(path, prepared.settings)}: put it back as it was, or start a new "
                "run with nasrun search or retrain"
            )
        if (
            record.get("kind") == "retrain"
            and record.get("genotype") != prepared.record["genotype"]
        ):
            raise UsageError(
                f"{path}: genotype={moved.get('genotype', prepared.settings['genotype'])} is no "
                "longer the genotype that the run began with: put it back as it was, or start a "
                "new run with nasrun retrain"
            )
        require_space(folder, prepared)
        Source(path, record).warn_of_other_data(prepared.record, refuse=moved)
        if record.get("processes", 1) == prepared.group.size:
            _as_many_threads(record.get("threads"))
        kept = {key: prepared.record[key] for key in ("processes", "device")}
        folder.update(status="running", error=None, threads=_num_threads(), **kept)
        if given:
            folder.update(places=moved)
        return supervise(folder, prepared)


def tell_of_plugins(record: object, path: Path) -> None:
    """Raise a `UsageError` where a plug-in from outside has to be typed again; tell of changes."""
    for change in outside.require(record, str(path), command("nasrun", "resume", path)):
        console.complain(f"warning: {change}")


def _prepared_where_it_is(
    path: Path,
    record: Mapping[str, Any],
    prepare: Prepare,
    moved: Mapping[str, str],
    typed: Mapping[str, str],
) -> Prepared:
    """Prepare a recorded run with its files where they are now, of which some have been typed."""
    config = load_config(path)
    places = located.now(config, located.start_of(path, record), located.known(config, moved, path))
    config = tracker.without_address(config, typed, path)
    try:
        return prepare(config, record["overrides"], recorded_choices(path), places=places)
    except UsageError as error:
        gone = [f"{key}=<where it is now>" for key in located.gone(config, places)]
        if not gone:
            raise
        advice = f"{command('nasrun', 'resume', path)} {' '.join(gone)}"
        raise UsageError(f"{error}; where it has moved, type {advice}") from None


def _signature_then(path: Path, prepared: Prepared) -> str:
    """Return the signature that the run has if its configuration is unchanged.

    The targets of its plug-ins are called what they were called when it began, and settings that
    they have got since are left out.
    """
    recorded = dict(identity.leaves(OmegaConf.to_container(load_recorded(path))))
    added = with_present_targets(recorded).keys() - recorded.keys()
    return identity.signature_of(
        {
            key: recorded[key] if key.endswith("._target_") and key in recorded else value
            for key, value in prepared.settings.items()
            if key not in added
        }
    )


@contextmanager
def _workplace(path: Path) -> Iterator[RunFolder]:
    """Open the folder of a run that has begun.

    Only the first process of several works in it; another one has a copy of the record, in a place
    that does not last.
    """
    if torchrun.rank() == 0:
        with RunFolder(path) as folder:
            yield folder
    else:
        with torchrun.place_of_follower() as place, RunFolder(place) as folder:
            shutil.copy(path / RUN_FILE, place)
            yield folder


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def _as_many_threads(num_threads: object) -> None:
    """Take as many threads as the run began with: other sums are rounded in another order."""
    import torch

    if type(num_threads) is int and 1 <= num_threads <= 4096:
        torch.set_num_threads(num_threads)


def _changes(path: Path, settings: Mapping[str, Any]) -> str:
    """Say in brackets what differs from the settings of the checkpoint, if there is one."""
    from nasrun.runs.checkpoint import settings_of  # torch

    recorded = settings_of(path)
    return f" ({identity.differences(recorded, settings)})" if recorded else ""

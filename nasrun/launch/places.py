"""Find where the files and folders are that a recorded configuration names.

A run may be gone on with from another folder than the one it was started in, and after its data
have moved. What it recorded stays as it is, since it decides which run it is; where its data are
now is kept beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nasrun.config import catalogue, ranges
from nasrun.config.declarations import declared
from nasrun.config.plugins import is_plugin
from nasrun.config.renamed import present
from nasrun.config.schema import PLUGINS
from nasrun.errors import UsageError
from nasrun.runs.choices import recorded_start

GENOTYPE = "genotype"  # a path, or a text, or a name
KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*", re.ASCII)


def named(config: DictConfig) -> Iterator[tuple[str, str | None]]:
    """Yield each key of a configuration that says where something lies, and what it says."""
    if config.get(GENOTYPE) not in (None, "random"):
        yield GENOTYPE, str(config[GENOTYPE])
    for group in PLUGINS:
        node = config.get(group)
        target = node.get("_target_") if isinstance(node, DictConfig) else None
        known = (
            declared(present(target))
            if isinstance(target, str) and is_plugin(target, group)
            else None
        )
        for name, setting in (known.settings if known is not None else {}).items():
            value = node.get(name)
            if ranges.is_place(setting.hint) and isinstance(value, str | None):
                yield f"{group}.{name}", value


def given(words: Sequence[str]) -> dict[str, str]:
    """Return key -> absolute path of words such as `dataset.file=elsewhere.npz`."""
    pairs = (word.partition("=")[::2] for word in words)
    return {key: _absolute(value) for key, value in pairs}


def _absolute(value: str) -> str:
    path = os.path.expanduser(value)
    return os.path.abspath(path) if os.path.exists(path) else value  # else a name, or a text


def known(config: DictConfig, moved: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    """Return the places that a person has given anew.

    Raises:
        UsageError: one of the keys says of no file or folder where it is.
    """
    keys = dict(named(config))
    for key, value in moved.items():
        if key not in keys:
            possible = ", ".join(keys) or "nothing"
            raise UsageError(
                f"{key}={value}: {folder} goes on with the settings it began with; what can be "
                f"said anew is where its files are now: {possible}"
            )
    return moved


def now(config: DictConfig, start: Path | None, moved: Mapping[str, str]) -> dict[str, str]:
    """Return key -> where it is now, of all that is elsewhere than the configuration says.

    Args:
        start: the folder that relative paths of the configuration refer to.
        moved: what is known to have moved, by its keys.
    """
    found = {}
    for key, value in named(config):
        if key in moved:
            found[key] = moved[key]
        elif value is not None and start is not None and start != Path.cwd():
            path = _from(start, value)
            if path is not None:
                found[key] = path
    return found


def _from(start: Path, value: str) -> str | None:
    """Return what a relative path means in another folder; `None` where there is no such file."""
    if os.path.isabs(value) or value.startswith("~") or value in _benchmarks():
        return None
    path = os.path.join(start, value)
    file = path.rpartition(":")[0] if ":" in value else path  # FILE:NAME, of a genotype
    return path if os.path.exists(path) or os.path.isfile(file) else None


def _benchmarks() -> set[str]:
    return {option.name for option in catalogue.options("benchmark", catalogue.conf_dir())}


def gone(config: DictConfig, places: Mapping[str, str]) -> list[str]:
    """List the keys whose files are not there."""
    values = {**dict(named(config)), **places}
    return [
        key
        for key, value in values.items()
        if value is not None
        and key != GENOTYPE
        and not is_address(key)
        and value not in _benchmarks()
        and not os.path.exists(os.path.expanduser(value))
    ]


def start_of(folder: Path, record: Mapping[str, Any]) -> Path | None:
    """Return the folder that a run was started in; `None` where its record does not tell."""
    cwd = record.get("cwd")
    return Path(cwd) if isinstance(cwd, str) else recorded_start(folder)


def moved_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what was given anew when a run was last gone on with, but for addresses.

    Files are looked at whoever names them; to an address something is sent.
    """
    places = record.get("places")
    pairs = places.items() if isinstance(places, Mapping) else ()
    known = {str(key): value for key, value in pairs if isinstance(value, str) and KEY.match(key)}
    return {key: value for key, value in known.items() if not is_address(key)}


def is_address(key: str) -> bool:
    """Return whether a key says where something is sent to."""
    return key.startswith("tracker.")

"""Start with the settings that an earlier run recorded: `--from RUN`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasrun.config import compose, identity, outside, plugins
from nasrun.config.flags import in_quotes
from nasrun.config.renamed import with_present_targets
from nasrun.config.untrusted_yaml import MAX_CONFIG_BYTES, leaves, parse
from nasrun.errors import UsageError, raise_together
from nasrun.launch import places
from nasrun.protocols.data import Dataset
from nasrun.runs.folder import RUN_FILE, read_json, read_text
from nasrun.runs.sweep import SWEEP_FILE
from nasrun.terminal import console

FLAG = "--from="
REFERENCE = re.compile(r"\$\{[\w.]+\}")  # to another key; what asks a resolver has a colon
UNREADABLE = (UsageError, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError)


@dataclass(frozen=True)
class Source:
    """A recorded run; `kept` are its overrides that hold again, `replaced` the keys set anew."""

    folder: Path
    record: Mapping[str, Any]
    kept: Sequence[str] = ()
    replaced: frozenset[str] = frozenset()

    def warn_of_other_data(
        self, present: Mapping[str, Any], refuse: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Say it where the data are no longer those of the run, unless others were asked for.

        Raises:
            UsageError: they are others at one of the places to `refuse`, by their keys.
        """
        was, now = (_mapping(record.get("data")) for record in (self.record, present))
        if any(key.partition(".")[0] in ("dataset", "space", "evaluator") for key in self.replaced):
            return
        for name, what in (("sha256", "images and labels"), ("table_sha256", "benchmark table")):
            if was.get(name) and now.get(name) and was[name] != now[name]:
                sums = f"checksum {str(was[name])[:12]} then, {now[name][:12]} now"
                group = "evaluator" if name == "table_sha256" else "dataset"
                for key, place in refuse.items():
                    if key.startswith(f"{group}."):
                        raise UsageError(
                            f"{key}={place} holds other {what} than {self.folder} began with "
                            f"({sums}): name the same data, or start a new run"
                        )
                console.complain(
                    f"warning: the {what} have changed since {self.folder} was run ({sums}); the "
                    "result will differ"
                )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def replayed(command: str, arguments: Sequence[str]) -> tuple[list[str], Source | None]:
    """Return the arguments with what `--from` stands for, and the run that it names, if any.

    Recorded overrides come first; those that are given anew are left out, and with a group that
    is chosen anew all settings of the old choice.

    Raises:
        UsageError: the folder holds no run of this command, or its record is damaged.
    """
    named = [word for word in arguments if word.startswith(FLAG)]
    if not named:
        return list(arguments), None
    folder = Path(named[-1].removeprefix(FLAG))
    record = _record(folder, command)
    flags = [word for word in arguments if word.startswith("-") and word not in named]
    further = [word for word in arguments if not word.startswith("-")]
    replaced = frozenset(map(_key, further))
    # where it was recorded is not what a run is, and an address in a file is nobody's word
    settings = [word for word in record["overrides"] if _key(word).partition(".")[0] != "tracker"]
    recorded = _without_resolvers(settings, folder)
    if not any(flag.startswith("--config-") for flag in flags):
        recorded += _changed_defaults(folder, command, recorded)
    recorded = _where_they_are(recorded, folder, record)
    kept = [
        override
        for override in recorded
        if replaced.isdisjoint((_key(override), _key(override).partition(".")[0]))
    ]
    return [*flags, *kept, *further], Source(folder, record, kept, replaced)


def _where_they_are(overrides: Sequence[str], folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Name the files of a run that was started in another folder by where they are."""
    config = load_config(folder)
    found = places.now(config, places.start_of(folder, record), places.moved_of(record))
    others = [override for override in overrides if _key(override) not in found]
    return [*others, *(f"{key}={in_quotes(path)}" for key, path in found.items())]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def _record(folder: Path, command: str) -> Mapping[str, Any]:
    file = folder / RUN_FILE
    if (folder / SWEEP_FILE).is_file():
        raise UsageError(f"--from {folder}: that is a sweep; name one job, such as {folder}/0")
    if not file.is_file():
        raise UsageError(f"--from {folder}: that is no run folder, it has no {RUN_FILE}")
    record = read_json(file)
    overrides = record.get("overrides") if isinstance(record, dict) else None
    if not isinstance(overrides, list) or not all(map(is_setting, overrides)):
        raise UsageError(f"--from {folder}: {file} is not the record of a run")
    if record.get("kind") != command:
        raise UsageError(
            f"--from {folder}: that is a run of nasrun {record.get('kind')}, not of {command}: "
            "name a run of the same command"
        )
    again = f"nasrun {command} --from {folder}"
    for change in outside.require(record.get("plugins"), str(folder), again):
        console.complain(f"warning: {change}")
    return record


def is_setting(override: object) -> bool:
    """Return whether an override is a setting of nasrun, which a record may have.

    Flags, and settings of Hydra itself, are never recorded; a stranger's file may have them. There
    are several ways to name one: `+hydra/callbacks=x`, `dataset@hydra.callbacks=x`.
    """
    if not isinstance(override, str) or override.startswith("-"):
        return False
    words = re.split(r"[\s+~@./:]+", override.partition("=")[0])
    return "hydra" not in words


def asks_a_resolver(override: str) -> bool:
    """Return whether a value would be computed when it is composed, as `name=${oc.env:HOME}` is.

    In a stranger's record that would copy a variable of this environment into the new record.
    """
    return "${" in REFERENCE.sub("", override)


def _without_resolvers(overrides: Sequence[str], folder: Path) -> list[str]:
    """Put the recorded values in the place of those that a resolver computed then."""
    asking = [override for override in overrides if asks_a_resolver(override)]
    values = dict(identity.leaves(OmegaConf.to_container(load_config(folder)))) if asking else {}
    for override in asking:
        if _key(override) not in values:
            raise UsageError(
                f"--from {folder}: the recorded {override!r} would be computed anew from this "
                f"machine, and its value then is not recorded: type {_key(override)}=... too"
            )
    return [
        f"{_key(override)}={literal(values[_key(override)])}" if override in asking else override
        for override in overrides
    ]


def _changed_defaults(folder: Path, command: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides that put back what `conf/` said when the run was recorded."""
    recorded = identity.leaves(OmegaConf.to_container(load_config(folder), resolve=True))
    config = compose.compose(command, overrides)
    # what refers to another key follows that one, as it did then
    present = {
        key: value
        for key, value in identity.leaves(
            OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        )
        if not (isinstance(value, str) and "${" in value)
    }
    old = [
        f"{key}={literal(value)}"
        for key, value in recorded
        if key in present and value != present[key]
    ]
    if old:
        console.complain(
            f"conf/ has changed since {folder} was run; as it was then: {' '.join(old)}"
        )
    return old


def literal(value: Any) -> str:
    """Write a value as Hydra's grammar reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, str):
        return in_quotes(value)
    return "null" if value is None else str(value).lower()


def load_config(folder: Path) -> DictConfig:
    """Load the configuration recorded with a run, with the present targets of its plug-ins.

    It raises what `load_recorded` raises.
    """
    plain = OmegaConf.to_container(load_recorded(folder))
    assert isinstance(plain, dict)
    return OmegaConf.create(with_present_targets({str(key): plain[key] for key in plain}))


def recorded_dataset(folder: Path) -> Dataset:
    """Build the dataset that a run was made with.

    Raises:
        UsageError: its configuration or its data cannot be read.
    """
    dataset: Dataset = plugins.build(recorded_node(folder, "dataset"))
    return dataset


def recorded_node(folder: Path, group: str) -> Mapping[str, Any]:
    """Return the plug-in node of a group that a run was made with.

    Raises:
        UsageError: it cannot be read, or is none of this version.
    """
    node = OmegaConf.to_container(load_config(folder)).get(group)  # type: ignore[union-attr]
    raise_together(plugins.faults(node, group))
    return cast(Mapping[str, Any], node)


def load_recorded(folder: Path) -> DictConfig:
    """Load the configuration recorded with a run, as it was written.

    It was resolved then, so that nothing in it refers to another key, to the environment or to a
    resolver.

    Raises:
        UsageError: it cannot be read, or is none that was recorded.
    """
    file = folder / ".hydra" / "config.yaml"
    try:
        text = read_text(file, MAX_CONFIG_BYTES)
        for key, value in leaves(parse(text, file)):
            if "${" in f"{key}{value}":
                raise UsageError(f"{key} refers to something else")
        config = OmegaConf.create(text)  # knows 1e-05 as a number, which YAML 1.1 does not
    except UNREADABLE as error:
        raise UsageError(f"cannot read the configuration {file}: {error}") from None
    if not isinstance(config, DictConfig):
        raise UsageError(f"{file} is not the configuration of a run")
    return config

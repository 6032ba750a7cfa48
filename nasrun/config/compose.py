"""Compose a configuration with Hydra and turn it into plain dataclasses and mappings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nasrun.config.catalogue import conf_dir
from nasrun.config.schema import PARTS, PLUGINS, SCHEMAS, AnyConfig, PluginNode
from nasrun.errors import UsageError, closest

REPEATED = re.compile(r"\$\{(\w+(?:\.\w+)+)\}")


def register() -> None:
    """Make the schemas and resolvers known to Hydra and OmegaConf; safe to call twice."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=name, node=schema)
    register_resolvers()


def register_resolvers() -> None:
    # ${first:a,b}: the first value that is not null, for keys whose null means "the method's own"
    OmegaConf.register_new_resolver(
        "first",
        lambda *values: next((value for value in values if value is not None), None),
        replace=True,
    )
    # ${up_to_half:a,b}: a, but at most half of b, for a first population within a small budget
    OmegaConf.register_new_resolver(
        "up_to_half", lambda value, budget: max(2, min(value, budget // 2)), replace=True
    )

    # ${one_of:n,a,b,...}: the n-th of the others, counted round
    OmegaConf.register_new_resolver(
        "one_of", lambda number, *values: values[number % len(values)], replace=True
    )


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of a command, inside a job of Hydra's or outside."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    register()
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(command, list(overrides))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, list(overrides))


def to_typed(
    config: DictConfig,
    schema: type[AnyConfig],
    choices: Mapping[str, str | None] | None = None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> AnyConfig:
    """Turn the composed (or recorded) configuration into plain dataclasses and mappings.

    Args:
        choices: group -> chosen option; a plug-in's node bears it as its name.
        places: key -> where a file is, of those that are elsewhere than the configuration says.

    Raises:
        UsageError: a value is missing, of the wrong type, or out of range; all faults at once.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        values = OmegaConf.to_container(merged, resolve=True, throw_on_missing=True)
        typed = cast(AnyConfig, _build(schema, values))
    except (OmegaConfBaseException, OverflowError) as error:
        key = getattr(error, "full_key", None) or "the configuration"
        if isinstance(error, ConfigKeyError | ConfigAttributeError):
            part = str(key).rpartition(".")[0]
            known = [item.name for item in fields(PARTS.get(part, schema))]
            names = [f"{part}.{name}" if part else name for name in known]
            raise UsageError(f"{key} does not exist; {closest(str(key), names)}") from None
        raise UsageError(f"{key}: {str(error).splitlines()[0]}") from None
    written = OmegaConf.to_container(config, resolve=False)
    assert isinstance(written, dict)
    for name in PLUGINS:
        # what is no node is a fault, which `all_faults` tells
        if isinstance(getattr(typed, name, None), Mapping) and written.get(name) is not None:
            node = PluginNode(getattr(typed, name))
            node.typed_as = dict(_typed_as(written[name]))
            node.option = (choices or {}).get(name)
            own = [key for key in places if key.startswith(f"{name}.")]
            node.places = {key.removeprefix(f"{name}."): places[key] for key in own}
            setattr(typed, name, node)
    return typed


def _typed_as(node: Any) -> Iterator[tuple[str, str]]:
    """Yield each setting that repeats a key of another group, and that key.

    The key is that of `${budget.epochs}`, or the first one in `${first:${population.size},8}`.
    """
    for name, value in node.items() if isinstance(node, Mapping) else ():
        found = REPEATED.search(value) if isinstance(value, str) else None
        if found is not None:
            yield str(name), found[1]


def _build(schema: type, values: Any) -> Any:
    """Make a dataclass from nested mappings; plug-in nodes stay mappings."""
    if not isinstance(values, Mapping):
        return values
    arguments = {
        item.name: _build(PARTS[item.name], values[item.name])
        if item.name in PARTS
        else values[item.name]
        for item in fields(schema)
    }
    return schema(**arguments)

"""Configurations for tests, composed by Hydra as the program composes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from nasrun.config import catalogue
from nasrun.config import compose as configuration
from nasrun.config.catalogue import conf_dir


def composed(overrides: Sequence[str] = (), command: str = "search") -> DictConfig:
    configuration.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(command, list(overrides))


def options(group: str) -> list[str]:
    """The names of all options of a group: what contract tests run over."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def methods(group: str) -> list[str]:
    """Return the options of a group that are no variants, which differ in values alone."""
    return [one.name for one in catalogue.options(group, conf_dir()) if not one.is_variant]


def node(group: str, option: str, **changes: Any) -> dict[str, Any]:
    """A resolved plug-in node with its `_target_`."""
    container = OmegaConf.to_container(composed([f"{group}={option}"]), resolve=True)
    assert isinstance(container, dict)
    return {**container[group], **changes}

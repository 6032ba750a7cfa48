"""Share what all contracts have: which option of which plug-in is tested, and its composition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from omegaconf import DictConfig

from nasrun.config import catalogue, compose, outside


class Contract:
    """Tests that a plug-in's test class inherits.

    Attributes:
        plugin: the module to type after `--plugin`; empty for what is installed, or part of nasrun.
        group: `strategy`, `space`, ...
        option: the choice within the group.
    """

    plugin: ClassVar[str] = ""
    group: ClassVar[str] = ""
    option: ClassVar[str] = ""

    @pytest.fixture
    def name(self) -> str:
        """Return the option, once its plug-in is known."""
        if self.plugin:
            outside.use(self.plugin, catalogue.conf_dir())
        return self.option


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose a search as the program does."""
    return compose.compose("search", overrides)

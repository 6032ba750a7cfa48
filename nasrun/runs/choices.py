"""Read which option of each config group a run was started with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from nasrun.config.untrusted_yaml import MAX_CONFIG_BYTES, parse
from nasrun.errors import UsageError
from nasrun.runs.folder import read_text

NAME = re.compile(r"[\w./-]{1,80}", re.ASCII)  # of an option; the file may be a stranger's


def recorded_choices(folder: Path) -> Mapping[str, str]:
    """Return group -> chosen option; empty where the run folder does not tell."""
    path = folder / ".hydra" / "hydra.yaml"
    try:
        content = parse(read_text(path, MAX_CONFIG_BYTES), path)
        found = content["hydra"]["runtime"]["choices"].items()
    except (UsageError, LookupError, TypeError, AttributeError):
        return {}
    named = ((str(key), value) for key, value in found if isinstance(value, str))
    return {key: value for key, value in named if NAME.fullmatch(value)}

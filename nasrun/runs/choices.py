"""Read how a run was started: which option of each config group it had, and in which folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasrun.config.untrusted_yaml import MAX_CONFIG_BYTES, parse
from nasrun.errors import UsageError
from nasrun.runs.folder import read_text

NAME = re.compile(r"[\w./-]{1,80}", re.ASCII)  # of an option; the file may be a stranger's


def recorded_choices(folder: Path) -> Mapping[str, str]:
    """Return group -> chosen option; empty where the run folder does not tell."""
    choices = _runtime(folder).get("choices")
    found = choices.items() if isinstance(choices, Mapping) else ()
    named = ((str(key), value) for key, value in found if isinstance(value, str))
    return {key: value for key, value in named if NAME.fullmatch(value)}


def recorded_start(folder: Path) -> Path | None:
    """Return the folder that a run was started in; `None` where its own folder does not tell."""
    cwd = _runtime(folder).get("cwd")
    return Path(cwd) if isinstance(cwd, str) else None


def _runtime(folder: Path) -> Mapping[str, Any]:
    path = folder / ".hydra" / "hydra.yaml"
    try:
        found = parse(read_text(path, MAX_CONFIG_BYTES), path)["hydra"]["runtime"]
    except (UsageError, LookupError, TypeError):
        return {}
    return found if isinstance(found, Mapping) else {}

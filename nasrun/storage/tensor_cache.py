"""Keep pre-trained encoders in the user's cache, each under a checksum of all that made it.

Tensors and plain values only, so that reading one unpickles no objects. A file is replaced
atomically, and two runs that pre-train the same encoder at the same time write the same file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nasrun.storage.cache_folder import cache_folder
from nasrun.storage.durable import replacing
from nasrun.storage.tensor_files import read_tensors, write_tensors


def cached(recipe: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` returned when it was first called for this recipe.

    Args:
        recipe: all that decides the outcome, as plain values: space, settings, seed. It is stored
            with the outcome and compared when that is read, so encoders never mix. A file that
            is broken or of another recipe is made again.
        make: returns tensors and plain values.
    """
    text = json.dumps(recipe, sort_keys=True)
    path = cache_folder("encoders") / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.pt"
    found = _read(path, text)
    if found is None:
        found = make()
        with suppress(OSError):  # without a writable cache the run goes on
            _write(path, {"recipe": text, "outcome": found})
    return found


def _read(path: Path, recipe: str) -> dict[str, Any] | None:
    content = None
    with suppress(OSError):  # without a readable cache the run goes on
        content = read_tensors(path) if path.exists() else None
    if content is None or content.get("recipe") != recipe:
        return None
    outcome = content.get("outcome")
    return outcome if isinstance(outcome, dict) else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        write_tensors(temporary, content)

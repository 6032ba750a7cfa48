"""Say what a failure of a rehearsal means, in a sentence that says what to type."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from nasrun.compute.device import is_out_of_memory
from nasrun.config.identity import leaves
from nasrun.config.schema import RunConfig
from nasrun.errors import OutOfMemory, RunError, UsageError

SIZES = ("batch_size", "channels", "cells")
SIZES_OF_DATA = (".size", ".image_size", ".limit", ".workers", ".max_pixels")
GROUPS = {
    "the data": ("dataset",),
    "the search": ("dataset", "space", "strategy", "evaluator", "predictor"),
    "the predictor": ("predictor",),
    "the retraining": ("retrain",),
}


def told(what: str, error: Exception, settings: RunConfig) -> list[str]:
    """Say what a failure means.

    Args:
        what: the phase that failed: a key of `GROUPS`, or another one.
    """
    if isinstance(error, UsageError):
        return error.problems
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OutOfMemory):
        return [f"{what} fails: {text}"]
    if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        sizes = SIZES_OF_DATA if what == "the data" else SIZES
        return [f"{what} needs more memory than there is: lower {keys(what, settings, sizes)}"]
    if isinstance(error, RunError):
        if "loss is" in text and "lower" not in text:
            text += f": lower {keys(what, settings, ('learning_rate',))}"
        return [f"{what} fails: {text}"]
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return [f"{what} fails: {type(error).__name__}: {text} ({where})"]


def keys(what: str, settings: RunConfig, endings: tuple[str, ...]) -> str:
    """Name a phase's keys with these endings; only those with a value, if any has one."""
    groups = GROUPS.get(what, ())
    values = {
        key: value
        for key, value in leaves(settings)
        if key.split(".")[0] in groups and key.endswith(endings)
    }
    found = [key for key, value in values.items() if value is not None] or list(values)
    return " or ".join(found) if found else "the sizes of the run"

"""Go on with a run or a sweep where it stopped.

What a sweep's record says of Hydra is not trusted, so its launcher is typed again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasrun.engine.summary import summary
from nasrun.errors import UsageError
from nasrun.launch import places, prepare_retrain, prepare_search
from nasrun.launch.launch import LAUNCHER, go_on_with_sweep
from nasrun.launch.resuming import go_on
from nasrun.runs import run_names
from nasrun.runs.folder import RUN_FILE, read_json
from nasrun.runs.sweep import SWEEP_FILE, read_sweep
from nasrun.terminal import console
from nasrun.terminal.text import command

PREPARE = {"search": prepare_search.prepare, "retrain": prepare_retrain.prepare}


def main(arguments: Sequence[str]) -> None:
    launcher = [word for word in arguments if word.startswith(LAUNCHER)]
    others = [word for word in arguments if not word.startswith(LAUNCHER)]
    settings = [word for word in others if "=" in word and not Path(word).exists()]
    folders = [word for word in others if word not in settings]
    if len(folders) != 1:
        raise UsageError(
            "resume takes one run or sweep: nasrun resume outputs/..., nasrun resume last"
        )
    moved = places.given(settings)
    path = run_names.path_of(folders[0], run_names.ANY)
    if (path / SWEEP_FILE).is_file():
        sweep = read_sweep(path)
        if sweep.kind not in PREPARE:
            raise UsageError(f"{path / SWEEP_FILE} is not the record of a sweep")
        go_on_with_sweep(sweep, PREPARE[sweep.kind], launcher, moved)
    elif launcher:
        raise UsageError(f"{launcher[0]} is for a sweep, and {path} is none: leave it out")
    elif (path / RUN_FILE).is_file():
        _resume_run(path, moved)
    else:
        raise UsageError(
            f"{path} is neither a run nor a sweep folder: it has no {RUN_FILE} or {SWEEP_FILE}"
        )


def _resume_run(path: Path, moved: Mapping[str, str]) -> None:
    """Go on with one run. A finished run is left as it is."""
    record = read_json(path / RUN_FILE)
    if not isinstance(record, dict) or str(record.get("kind")) not in PREPARE:
        raise UsageError(f"{path / RUN_FILE} is not the record of a run")
    if record.get("status") == "done":
        console.say(f"{path} is finished already; nothing to do")
        return
    if "signature" not in record:
        raise UsageError(
            f"{path} failed before it began ({record.get('error')}): "
            f"`{command('nasrun', 'resume', path.parent)}` runs it anew"
        )
    result = go_on(path, PREPARE[record["kind"]], moved)
    console.say(summary(path, result, console.width(sys.stdout)))

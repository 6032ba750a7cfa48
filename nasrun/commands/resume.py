"""`nasrun resume <run or sweep folder>`: go on where a run stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from nasrun import config as configuration
from nasrun import ui
from nasrun.commands import retrain, search
from nasrun.commands.job import Outcome, exit_for, show_sweep, supervise
from nasrun.errors import UsageError
from nasrun.runs import RUN_FILE, RunFolder, read_json
from nasrun.summary import summary

PREPARE = {"search": search.prepare, "retrain": retrain.prepare}


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1:
        raise UsageError("resume takes one run or sweep folder: nasrun resume outputs/...")
    path = Path(arguments[0])
    if (path / RUN_FILE).is_file():
        resume(path)
        return
    jobs = sorted(
        (job.parent for job in path.glob(f"*/{RUN_FILE}")), key=lambda p: (len(p.name), p.name)
    )
    if not jobs:
        raise UsageError(f"{path} is neither a run nor a sweep folder: it has no {RUN_FILE}")
    outcomes = []
    for job in jobs:
        overrides = list(read_json(job / RUN_FILE).get("overrides", []))
        outcome = Outcome(job, overrides)
        try:
            outcome.result = resume(job)
        except Exception as error:
            ui.complain(str(error))
            outcome.error = error
        outcomes.append(outcome)
    show_sweep(outcomes)
    exit_for([outcome.error for outcome in outcomes if outcome.error is not None])


def resume(path: Path) -> Mapping[str, Any]:
    """Go on with one run; returns its result. A finished run is left as it is."""
    record = read_json(path / RUN_FILE)
    if not isinstance(record, dict) or record.get("kind") not in PREPARE:
        raise UsageError(f"{path / RUN_FILE} is not the record of a run")
    if record.get("status") == "done":
        ui.say(f"{path} is finished already; nothing to do")
        return cast(Mapping[str, Any], read_json(path / "result.json"))
    with RunFolder(path) as folder:
        prepared = PREPARE[record["kind"]](load_config(path), list(record.get("overrides", [])))
        if prepared.record["signature"] != record.get("signature"):
            raise UsageError(
                f"{path}/.hydra/config.yaml is no longer the configuration that the run began "
                "with: start a new run with nasrun search or retrain"
            )
        folder.update(status="running", error=None)
        result = supervise(folder, prepared.run)
    ui.say(summary(path, result))
    return result


def load_config(path: Path) -> DictConfig:
    """The configuration recorded with a run."""
    file = path / ".hydra" / "config.yaml"
    configuration.register_resolvers()
    try:
        config = OmegaConf.load(file)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise UsageError(f"cannot read the configuration {file}: {error}") from None
    if not isinstance(config, DictConfig):
        raise UsageError(f"{file} is not the configuration of a run")
    return config

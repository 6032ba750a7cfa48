"""Tell the HParams tab of TensorBoard the settings of a run, and how good its result is."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from nasrun.protocols.result import Result
from nasrun.runs.recorder import Recorder


def record(
    recorder: Recorder, config: DictConfig, overrides: Sequence[str], result: Result
) -> None:
    """Record one row, with the same columns in every job of a sweep."""
    retrain, table = result.retrain, result.table
    chosen = {name: getattr(result, name) for name in ("strategy", "space", "dataset", "seed")}
    settings = {name: value for name, value in chosen.items() if value is not None}
    metrics = {
        "search_val_accuracy": result.search_val_accuracy,
        "test_accuracy": result.test_accuracy,
        "params": None if retrain is None else retrain.params,
        "search_seconds": result.search_seconds,
        "regret": None if table is None else table.regret,
    }
    recorder.hparams({**settings, **_settings(config, overrides)}, metrics)


def _settings(config: DictConfig, overrides: Sequence[str]) -> dict[str, str | float]:
    """Map each overridden key to its value; of a group, a list or null to the typed text."""
    settings: dict[str, str | float] = {}
    for override in overrides:
        key, _, text = override.lstrip("+~").partition("=")
        value = OmegaConf.select(config, key)
        settings[key] = value if isinstance(value, str | int | float) else text
    return settings

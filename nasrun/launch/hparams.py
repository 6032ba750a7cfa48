"""What the HParams tab of TensorBoard says of a run: its settings, and how good its result is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nasrun.runs.recorder import RunRecorder


def record(
    recorder: RunRecorder, config: DictConfig, overrides: Sequence[str], result: Mapping[str, Any]
) -> None:
    """One row, with the same columns in every job of a sweep."""
    retrain, table = (result.get(part) or {} for part in ("retrain", "table"))
    chosen = {name: result[name] for name in ("strategy", "space", "dataset", "seed")}
    settings = {name: value for name, value in chosen.items() if value is not None}
    metrics = {
        "search_val_accuracy": result["search_val_accuracy"],
        "test_accuracy": (retrain or table).get("test_accuracy"),
        "params": retrain.get("params"),
        "search_seconds": result["search_seconds"],
        "regret": table.get("regret"),
    }
    recorder.hparams({**settings, **_settings(config, overrides)}, metrics)


def _settings(config: DictConfig, overrides: Sequence[str]) -> dict[str, str | float]:
    """Overridden key -> value; of a group, a list or null the text that was typed."""
    settings: dict[str, str | float] = {}
    for override in overrides:
        key, _, text = override.lstrip("+~").partition("=")
        value = OmegaConf.select(config, key)
        settings[key] = value if isinstance(value, str | int | float) else text
    return settings

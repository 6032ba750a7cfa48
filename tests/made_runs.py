"""Run folders with known figures, as a search or a retraining leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

GENOTYPE = {"space": "toy", "cells": {"cell": {"nodes": ["in", "out"], "edges": [["conv", 0, 1]]}}}


def make_run(
    folder: Path,
    *,
    seed: int = 0,
    accuracy: float | None = 0.9,
    overrides: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    dataset: str = "digits",
    errors: Sequence[float | None] = (),
    steps: Sequence[Mapping[str, Any]] = (),
    result: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """A finished run. `accuracy` is its test accuracy; `errors` are those of its labels, in order;
    what `config`, `result` and `record` hold is added to the files."""
    (folder / ".hydra").mkdir(parents=True)
    files = {
        "run.json": {
            "command": "nasrun search --multirun ...",
            "overrides": [*overrides, f"seed={seed}"],
            "kind": "search",
            "device": "cpu (1 threads)",
            "commit": "0" * 40,
            "status": "done",
            "finished": "2026-01-01T00:00:00+00:00",
            **(record or {}),
        },
        "result.json": {
            "strategy": "egnas",
            "space": "toy",
            "dataset": dataset,
            "seed": seed,
            "genotype": GENOTYPE,
            "evaluations": len(errors),
            "scorings": 0,
            "search_seconds": 864.0,
            "search_val_accuracy": 0.8,
            "retrain": None if accuracy is None else {"test_accuracy": accuracy, "params": 5e5},
            **(result or {}),
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    composed = {"seed": seed, "dataset": {"name": dataset}, **(config or {})}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(composed))
    labels = [{"step": 1, "values": [error], "cost_s": 1.0} for error in errors]
    for name, lines in (("evaluations.jsonl", labels), ("metrics.jsonl", steps)):
        if lines:
            (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "cells.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return folder


def make_grid(folder: Path, accuracies: Mapping[tuple[float, float], Sequence[float]]) -> Path:
    """A sweep over (zeta, eta) with as many seeds as there are accuracies."""
    (folder / "multirun.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "multirun.yaml").write_text("")
    jobs = [
        (zeta, eta, seed, accuracy)
        for (zeta, eta), values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    for number, (zeta, eta, seed, accuracy) in enumerate(jobs):
        make_run(
            folder / str(number),
            seed=seed,
            accuracy=accuracy,
            overrides=[f"fitness.zeta={zeta}", f"fitness.eta={eta}"],
            config={
                "fitness": {"zeta": zeta, "eta": eta},
                "strategy": {"zeta": zeta, "eta": eta, "predictor_seed": seed},
            },
        )
    return folder

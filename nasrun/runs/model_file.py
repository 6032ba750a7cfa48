"""Describe a retrained network beside its weights, so that it can be used without its data.

`model.json` says how to build the network and how an input becomes one of its own; `model.pt` has
the weights. Nothing of the training data is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.protocols.data import Reading
from nasrun.protocols.plain import from_plain, to_plain
from nasrun.runs.folder import RUN_FILE, RunFolder, read_json

MODEL_FILE, WEIGHTS_FILE = "model.json", "model.pt"
SUPERNET_FILE = "supernet.pt"  # the shared weights of a search, where networks can inherit them


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """How to build a trained network, and how to feed it."""

    genotype: Genotype
    space: Mapping[str, Any]  # the plug-in node of the search space
    channels: int | None
    cells: int | None
    stem: str | None
    auxiliary: bool
    input_channels: int
    input_size: tuple[int, ...]  # pixels
    reading: Reading

    def write(self, folder: RunFolder) -> None:
        folder.write_json(MODEL_FILE, to_plain(self))


def read_model(folder: Path) -> ModelRecord:
    """Read the record of a run.

    Raises:
        UsageError: there is no trained network in the folder, or its record is damaged.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise UsageError(_missing(folder))
    try:
        record: ModelRecord = from_plain(ModelRecord, read_json(path))
    except (TypeError, LookupError, AttributeError) as error:
        raise UsageError(f"{path} is not the description of a network ({error})") from None
    return record


def _missing(folder: Path) -> str:
    """Say why there is no network, and what makes one."""
    if not (folder / RUN_FILE).is_file():
        return f"{folder} is no run folder: it has no {RUN_FILE}"
    status = str(read_json(folder / RUN_FILE).get("status"))
    if status != "done":
        return f"{folder} is {status}, and has no trained network yet: nasrun resume {folder}"
    again = f"nasrun retrain genotype={folder} retrain=short"
    if (folder / WEIGHTS_FILE).is_file():
        return f"{folder} was made by a version that kept too little of its network: {again}"
    return f"{folder} has no trained network, since its search was all: {again}"

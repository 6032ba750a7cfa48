"""Keep the members of a family as folders that export, predict, evaluate and retrain read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasrun.engine.family import Member
from nasrun.engine.family_choice import Candidate
from nasrun.genotypes.source import FILE_NAME as GENOTYPE_FILE
from nasrun.protocols.data import Dataset
from nasrun.protocols.plain import to_plain
from nasrun.protocols.space import as_module
from nasrun.runs.folder import read_json
from nasrun.runs.model_file import MODEL_FILE, WEIGHTS_FILE, ModelRecord
from nasrun.storage.durable import replacing
from nasrun.storage.tensor_files import write_tensors

FILE = "member.json"
CONFIG = Path(".hydra") / "config.yaml"

Figures = dict[str, Any]
"""What was measured of a member, and the recipe it was made by."""


def write_member(
    member: Member,
    folder: Path,
    recipe: Mapping[str, int],
    run: Path,
    space: Mapping[str, Any],
    dataset: Dataset,
) -> Figures:
    """Write a member; the file by which it is known to be whole comes last.

    Args:
        recipe: the epochs behind it.
        run: the folder of the search, whose configuration is copied.
        space: the plug-in node of the space.
    """
    (folder / CONFIG).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / CONFIG, folder / CONFIG)
    candidate = member.candidate
    record = ModelRecord(
        genotype=candidate.genotype,
        space=dict(space),
        channels=None,
        cells=None,
        stem=None,
        auxiliary=False,
        input_channels=dataset.shape.channels,
        input_size=dataset.shape.size,
        reading=dataset.reading,
    )
    write_json(folder / GENOTYPE_FILE, candidate.genotype.to_json())
    write_json(folder / MODEL_FILE, to_plain(record))
    with replacing(folder / WEIGHTS_FILE) as path:
        state = as_module(member.network).state_dict()
        write_tensors(path, {name: one.cpu() for name, one in state.items()})
    figures = {
        "genotype": candidate.genotype.to_json(),
        "id": candidate.genotype.short_id,
        "params": candidate.params,
        "flops": candidate.flops,
        "latency_ms": member.latency_ms,
        "inherited_accuracy": member.inherited_accuracy,
        "test_accuracy": member.test_accuracy,
        "scratch_accuracy": member.scratch_accuracy,
        "recipe": dict(recipe),
    }
    write_json(folder / FILE, figures)
    return figures


def written(folder: Path, candidate: Candidate, recipe: Mapping[str, int]) -> Figures | None:
    """Return what a call that was interrupted has measured of a member, if it had come so far."""
    if not (folder / FILE).is_file():
        return None
    found = read_json(folder / FILE)
    same = isinstance(found, dict) and found.get("recipe") == recipe
    return found if same and found.get("genotype") == candidate.genotype.to_json() else None


def write_json(target: Path, content: object) -> None:
    with replacing(target) as path:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

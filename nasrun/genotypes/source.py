"""Find a genotype where a user says it is: a run folder, a file, the text itself, or a name."""

from __future__ import annotations

import os
from pathlib import Path

from nasrun.errors import UsageError, closest
from nasrun.genotypes import known_networks
from nasrun.genotypes import text as genotypes
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.published import published_cells

FILE_NAME = "genotype.json"
FRONT_NAME = "front.json"  # of a run with several objectives: its architectures by their places


def resolve(text: str, tell: genotypes.Tell = lambda _: None) -> Genotype:
    """Return the genotype that `text` stands for.

    It is what the file or run folder `text` holds, what was published under the name `text`, a
    network of torchvision (`resnet18`, `torchvision:resnet18`), what the text itself says, what a
    file holds under a name (`FILE:NAME`), or a run's front at a place (`RUN:2`). `tell` gets a
    sentence about what was chosen, left out or filled in.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    text = text.strip()
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        if not (path / FILE_NAME).is_file():
            raise UsageError(f"{path} holds no {FILE_NAME}: it is not a run that found a genotype")
        return genotypes.load(path / FILE_NAME, tell)
    if os.path.isfile(path):
        return genotypes.load(path, tell)
    cells = published_cells()
    if text in cells:
        return cells[text].genotype
    network = known_networks.named(text)
    if network is not None:
        return network
    file, _, name = str(path).rpartition(":")
    if name and os.path.isdir(file) and not genotypes.is_text(text):
        return genotypes.load(_front_of(Path(file)), tell, name)
    if name and os.path.isfile(file):
        return genotypes.load(Path(file), tell, name)
    if genotypes.is_text(text):
        return genotypes.parse(text, tell)
    raise UsageError(
        f"there is no run folder, file or published genotype '{text[:120]}'; "
        f"{closest(text[:120], [*cells, *known_networks.NETWORKS])}"
    )


def _front_of(folder: Path) -> Path:
    """Return the file with the front of a run."""
    if not (folder / FRONT_NAME).is_file():
        raise UsageError(
            f"{folder} holds no {FRONT_NAME}: it is not a run that found several architectures; "
            f"type {folder} for the one that it found"
        )
    return folder / FRONT_NAME

"""Hold the cells that were published, by name: `nasrun list genotypes`.

`published_cells.json` holds the facts, and where they are from. Of the DARTS space: eight
(operation, input state) pairs per cell, and the trainable parameters of the CIFAR-10 network of 36
channels and 20 cells, without an auxiliary head. All four states of a cell form its output. A cell
of ten pairs is one of NASNet, and the states that it does not read itself form its output. Of
NAS-Bench-201: the benchmark's text, and the parameters of its network of 16 channels.

Deviation: the paper of EG-NAS gives its cell 3.2 M parameters. `eg_nas_cifar10` has 3.71 M and
`eg_nas_cifar10_first` 3.60 M: both stand in its public code, and neither is the paper's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nasrun.genotypes import nasbench201
from nasrun.genotypes.darts import CELLS, from_fields
from nasrun.genotypes.genotype import Genotype


@dataclass(frozen=True)
class PublishedCell:
    genotype: Genotype
    source: str
    params_cifar10: int


@cache
def published_cells() -> dict[str, PublishedCell]:
    """Return all published cells, by name."""
    text = Path(__file__).with_name("published_cells.json").read_text(encoding="utf-8")
    return {
        name: PublishedCell(_genotype(facts), facts["source"], facts["params_cifar10"])
        for name, facts in json.loads(text).items()
    }


def _genotype(facts: Mapping[str, Any]) -> Genotype:
    if "nasbench201" in facts:
        return nasbench201.parse(facts["nasbench201"])
    return from_fields({name: facts[name] for name in CELLS}, [])


def named_cells(space: str) -> dict[str, Genotype]:
    """Return the published cells of a space, by name."""
    known = published_cells().items()
    return {name: cell.genotype for name, cell in known if cell.genotype.space == space}

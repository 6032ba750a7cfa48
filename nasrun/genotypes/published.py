"""Hold the cells that were published for the DARTS space, by name: `nasrun list genotypes`.

`published_cells.json` holds the facts: eight (operation, input state) pairs per cell, where they
are from, and the trainable parameters of the CIFAR-10 network of 36 channels and 20 cells, without
an auxiliary head. All four states of a cell form its output. A cell of ten pairs is one of NASNet,
and the states that it does not read itself form its output.

Deviation: the paper of EG-NAS gives its cell 3.2 M parameters. `eg_nas_cifar10` has 3.71 M and
`eg_nas_cifar10_first` 3.60 M: both stand in its public code, and neither is the paper's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

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
        name: PublishedCell(
            from_fields({name: facts[name] for name in CELLS}, []),
            facts["source"],
            facts["params_cifar10"],
        )
        for name, facts in json.loads(text).items()
    }

"""Where a genotype can come from: a run folder, a file, the text itself, or a published name."""

from __future__ import annotations

import os
from pathlib import Path

from nasrun.errors import UsageError, closest
from nasrun.genotypes import text as genotypes
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.published import published_cells

FILE_NAME = "genotype.json"
TEXT_STARTS = tuple(genotypes.FORMS)


def resolve(text: str) -> Genotype:
    """The genotype that `text` is, that the file or run folder `text` holds, or that was published
    under the name `text`.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    text = text.strip()
    if text.startswith(TEXT_STARTS):
        return genotypes.parse(text)
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path):
        if not (path / FILE_NAME).is_file():
            raise UsageError(f"{path} holds no {FILE_NAME}: it is not a run that found a genotype")
        return genotypes.load(path / FILE_NAME)
    if os.path.isfile(path):
        return genotypes.load(path)
    cells = published_cells()
    if text in cells:
        return cells[text].genotype
    raise UsageError(
        f"there is no run folder, file or published genotype '{text[:120]}'; "
        f"{closest(text[:120], cells)}"
    )

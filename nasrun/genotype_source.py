"""Where a genotype can come from: a run folder, a file, or the text itself."""

from __future__ import annotations

import os
from pathlib import Path

from nasrun import genotype as genotypes
from nasrun.errors import UsageError
from nasrun.genotype import Genotype

FILE_NAME = "genotype.json"
TEXT_STARTS = ("{", "|", "Genotype(")


def resolve(text: str) -> Genotype:
    """The genotype that `text` is, or that the file or run folder `text` holds.

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
    raise UsageError(f"there is no run folder, file or genotype '{text[:120]}'")

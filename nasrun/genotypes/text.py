"""Read a genotype from a text or a file, whatever its form; nothing is evaluated."""

from __future__ import annotations

import json
from pathlib import Path

from nasrun.errors import UsageError
from nasrun.genotypes import darts, nasbench201
from nasrun.genotypes.genotype import MAX_TEXT_LENGTH, Genotype


def parse(text: str) -> Genotype:
    """A genotype from JSON, from the DARTS style `Genotype(normal=[...], ...)`, or from a
    NAS-Bench-201 string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Nothing is evaluated.
    """
    text = text.strip()
    if len(text) > MAX_TEXT_LENGTH:
        raise UsageError(
            f"a genotype has at most {MAX_TEXT_LENGTH:,} characters, not {len(text):,}"
        )
    for start, read in FORMS.items():
        if text.startswith(start):
            return read(text)
    raise UsageError(
        f"'{text[:60]}' is not a genotype: expected JSON, Genotype(normal=[...], ...) "
        "or |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    )


def _from_json(text: str) -> Genotype:
    try:
        return Genotype.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the genotype is not valid JSON: {error}") from None


FORMS = {  # how a text begins -> what reads it
    "{": _from_json,
    darts.TEXT_START: darts.parse,
    nasbench201.TEXT_START: nasbench201.parse,
}


def load(path: Path) -> Genotype:
    """The genotype in a text file; a `UsageError` names the file when there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_TEXT_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a genotype from {path}: {error}") from None
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None

"""Read a genotype from a text or a file, whatever its form; nothing is evaluated."""

from __future__ import annotations

import json
from pathlib import Path

from nasrun.errors import UsageError
from nasrun.genotypes.darts import _from_darts_text
from nasrun.genotypes.genotype import MAX_TEXT_LENGTH, Genotype
from nasrun.genotypes.nasbench201 import _from_nasbench201_text


def parse(text: str) -> Genotype:
    """A genotype from JSON, from the DARTS style `Genotype(normal=[...], ...)`, or from a
    NAS-Bench-201 string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`. Nothing is evaluated.
    """
    text = text.strip()
    if len(text) > MAX_TEXT_LENGTH:
        raise UsageError(
            f"a genotype has at most {MAX_TEXT_LENGTH:,} characters, not {len(text):,}"
        )
    if text.startswith("{"):
        try:
            return Genotype.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the genotype is not valid JSON: {error}") from None
    if text.startswith("|"):
        return _from_nasbench201_text(text)
    if text.startswith("Genotype("):
        return _from_darts_text(text)
    raise UsageError(
        f"'{text[:60]}' is not a genotype: expected JSON, Genotype(normal=[...], ...) "
        "or |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    )


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

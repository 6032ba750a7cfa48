"""`nasrun show GENOTYPE [--out FILE]`: the cells of a run, a file or a text, drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nasrun.config import catalogue, plugins
from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.source import resolve
from nasrun.pictures import cell_text
from nasrun.runs.folder import read_json
from nasrun.terminal import console


def main(arguments: list[str]) -> None:
    """Draw a genotype in the terminal and, with `--out`, to a file.

    Raises `UsageError` for a genotype that cannot be read or that its space refuses, and for a
    picture that cannot be written.
    """
    parser = argument_parser("show")
    parser.add_argument("genotype")
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    genotype = resolve(parsed.genotype, console.complain)
    _require_valid(genotype)
    lines = [cell_text.text(genotype), "", f"space {genotype.space}, id {genotype.short_id}"]
    lines += _accuracies(Path(parsed.genotype) / "result.json")
    console.say("\n".join(lines))
    if parsed.out is not None:
        from nasrun.pictures import cells  # matplotlib takes most of a second

        cells.draw(genotype, parsed.out)
        console.say(f"picture: {parsed.out}")


def _require_valid(genotype: Genotype) -> None:
    """Raise `UsageError` for what could not be retrained."""
    root = catalogue.conf_dir()
    names = [option.name for option in catalogue.options("space", root)]
    if genotype.space not in names:  # it may come from a stranger, and name a file elsewhere
        raise UsageError(
            f"the genotype is of the space '{genotype.space}', which does not exist; "
            f"{closest(genotype.space, names)}"
        )
    plugins.build(catalogue.content("space", genotype.space, root)).validate(genotype)


def _accuracies(path: Path) -> Iterator[str]:
    """One line for each accuracy that the run has recorded, in percent."""
    if not os.path.isfile(path):  # which takes a text of any length
        return  # a file, a text, or a run that is not done
    result = read_json(path)
    if not isinstance(result, Mapping):
        raise UsageError(f"{path} is not the result of a run")
    retrain, table = _node(result, "retrain"), _node(result, "table")
    figures = {
        "search validation accuracy": result.get("search_val_accuracy"),
        "retrained, validation accuracy": retrain.get("val_accuracy"),
        "retrained, test accuracy": retrain.get("test_accuracy"),
        "table, validation accuracy": table.get("val_accuracy"),
        "table, test accuracy": table.get("test_accuracy"),
    }
    for name, value in figures.items():
        if isinstance(value, int | float) and 0 <= value <= 1:
            yield f"{name}: {100 * value:.2f} %"


def _node(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of the record; empty where it is missing or null."""
    found = result.get(key)
    return found if isinstance(found, Mapping) else {}

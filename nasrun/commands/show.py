"""Draw the cells of a run, a file or a text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nasrun.config import catalogue, plugins
from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError, closest
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.source import resolve
from nasrun.pictures import cell_text
from nasrun.runs import run_names
from nasrun.runs.result_file import RESULT_FILE, read_result
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
    source = run_names.genotype(parsed.genotype)
    genotype = resolve(source, console.complain)
    _require_valid(genotype)
    lines = [cell_text.text(genotype), "", f"space {genotype.space}, id {genotype.short_id}"]
    lines += _accuracies(Path(source))
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
    node = catalogue.content("space", genotype.space, root)
    if plugins.target(node).takes:  # others have no networks, and may need the table of the run
        plugins.build(node).validate(genotype)


def _accuracies(folder: Path) -> Iterator[str]:
    """Yield a line for each accuracy that the run has recorded, in percent."""
    if not os.path.isfile(folder / RESULT_FILE):  # which takes a text of any length
        return  # a file, a text, or a run that is not done
    result = read_result(folder)
    retrain, table = result.retrain, result.table
    figures = {"search validation accuracy": result.search_val_accuracy}
    if retrain is not None:
        figures["retrained, validation accuracy"] = retrain.val_accuracy
        figures["retrained, test accuracy"] = retrain.test_accuracy
    if table is not None:
        figures["table, validation accuracy"] = table.val_accuracy
        figures["table, test accuracy"] = table.test_accuracy
    for name, value in figures.items():
        if value is not None:
            yield f"{name}: {100 * value:.2f} %"

"""List what can be chosen: every folder of `conf/` is a kind, and `genotypes`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasrun.config import catalogue, matching, methods, own_folder
from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError, closest, enumerated
from nasrun.genotypes.published import published_cells
from nasrun.terminal import console
from nasrun.terminal.overview import Entry, Overview

GENOTYPE = "genotype"  # the kind that `nasrun retrain` and `nasrun show` take
LAUNCHER = "hydra/launcher"  # the kind that sweeps take
# Kinds that are no choice of a run, and the headings under which they are listed.
NO_CHOICES = {"benchmark": "benchmark (evaluator=table, nasrun data)"}


def main(arguments: list[str]) -> None:
    """Print the options of one kind, or of all; raise `UsageError` for an unknown kind."""
    parser = argument_parser("list")
    parser.add_argument("kind", nargs="?")
    parser.add_argument(*own_folder.FLAGS, dest="folder")
    parsed = parser.parse_args(arguments)
    with own_folder.looked_into(parsed.folder):
        _show(parsed.kind, catalogue.conf_dir())


def _show(wanted: str | None, root: Path) -> None:
    kinds = [*catalogue.groups(root), GENOTYPE]
    if wanted is not None and _kind(wanted, [*kinds, LAUNCHER]) == methods.GROUP:
        strategies(root).show()
        return
    shown = kinds if wanted is None else (_kind(wanted, [*kinds, LAUNCHER]),)
    console.listing({NO_CHOICES.get(kind, f"{kind}=..."): _rows(kind, root) for kind in shown})


def _kind(word: str, kinds: Sequence[str]) -> str:
    names = {name: kind for kind in kinds for name in (kind, plural(kind))}
    names["launchers"] = LAUNCHER
    if word not in names:
        raise UsageError(f"there is no kind '{word}': {closest(word, map(plural, kinds))}")
    return names[word]


def _rows(kind: str, root: Path) -> list[tuple[str, str]]:
    if kind == GENOTYPE:
        return [
            (name, f"{cell.source}; {cell.params_cifar10:,} parameters on CIFAR-10")
            for name, cell in published_cells().items()
        ]
    return [(option.label, option.gloss) for option in catalogue.options(kind, root)]


def strategies(root: Path) -> Overview:
    """Return what there is to know of each strategy in a line, by family."""
    sections = {
        heading: [
            Entry(
                method.option,
                (method.paper, method.needs, method.step),
                method.title,
                method.gloss,
                tuple((variant.name, variant.gloss) for variant in method.variants),
            )
            for method in members
        ]
        for heading, members in methods.families(root).items()
    }
    spaces = matching.spaces_with_alphas()
    legend = (
        f"needs: alphas, a space whose edges mix operations (space={enumerated(spaces, 'or')}); "
        "weights, such a space, and a supernet of it in place of evaluator=table; any, every space",
        "a step: a batch is one of the training half; a gradient goes through the whole supernet, "
        "a path through one operation of each edge, a score forward alone; a label is a true "
        "evaluation; P is the population",
        "what each one does: nasrun list strategies | less -S",
    )
    return Overview(("strategy=", "paper", "needs", "a step"), sections, legend)


def plural(kind: str) -> str:
    """Return the plural of a kind: `strategy` -> `strategies`, `space` -> `spaces`."""
    if kind.endswith("y"):
        return f"{kind[:-1]}ies"
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"

"""What is typed: settings and names, wrong in all ways that people and scripts find."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.config import catalogue
from nasrun.genotypes.published import published_cells
from tests.long.fuzz.command_line import Trial, nasrun
from tests.long.fuzz.values import HOSTILE_TEXTS, NUMBERS, QUICK, TARGETS, TOY, junk, word

BASES = (
    TOY,
    [*QUICK, "space=darts"],
    [*QUICK, "space=nasbench201", "strategy=regularized_evolution", "evaluator=train"],
    [*QUICK, "space=toy", "strategy=random"],
    [*QUICK, "space=nasbench101", "strategy=local_search", "evaluator=train"],
    [*QUICK, "strategy=dclenas", "evaluator.epochs=1"],
)


def overrides(chance: random.Random, _: Path) -> Trial:
    """Settings of a search or a retraining: wrong types, sizes, names, prefixes and references."""
    command = chance.choice(("search", "search", "search", "retrain"))
    base = list(chance.choice(BASES)) if command == "search" else [*QUICK, "genotype=darts_v2"]
    keys = keys_of(command, base)
    words = [override(keys, chance) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
    return nasrun(command, *base, *words)


def override(keys: Mapping[str, Any], chance: random.Random) -> str:
    key = chance.choice(list(keys))
    how = chance.random()
    if how < 0.5:
        return f"{key}={word(similar(keys[key], chance))}"
    if how < 0.6:
        key = misspelt(key, chance)
    elif how < 0.65:
        key = chance.choice(("", ".", "a.b.c", "strategy.", ".seed", "@", "seed@x", "ü", "x y"))
    elif how < 0.7:
        key = chance.choice(("dataset", "space", "strategy", "budget", "retrain", "sweep"))
    elif how < 0.75:
        key = f"{chance.choice(('strategy', 'space', 'dataset'))}._target_"
        return f"{key}={chance.choice(TARGETS)}"
    elif how < 0.77:
        return f"{key}=" + "[" * 10_000
    prefix = chance.choice(("", "", "", "", "+", "++", "~"))
    if prefix == "~" and chance.random() < 0.5:
        return f"~{key}"
    return f"{prefix}{key}={word(junk(chance))}"


def similar(value: Any, chance: random.Random) -> Any:
    """A value of the same type, which may be possible."""
    if isinstance(value, bool) or value is None:
        return chance.choice((True, False, None, 1, 2))
    if isinstance(value, int | float):
        near = (value * 2, value / 2, value + 1, value - 1, -value, value * 1_000)
        return chance.choice((*near, *NUMBERS))
    if isinstance(value, list):
        return chance.choice((value[:1], value * 2, [similar(one, chance) for one in value]))
    return chance.choice(HOSTILE_TEXTS)


def keys_of(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The keys of a command and their values, with the options that are chosen."""
    root = catalogue.conf_dir()
    found = catalogue.compose(command, root, catalogue.chosen_options(words, root))
    return {**found.keys, **found.choices, "population.size": 4, "hydra.run.dir": "x"}


def misspelt(name: str, chance: random.Random) -> str:
    place = chance.randrange(len(name))
    return name[:place] + chance.choice(("", "x", name[place] * 2)) + name[place + 1 :]


def names(chance: random.Random, _: Path) -> Trial:
    """Misspelt commands, options, flags, genotypes, metrics and benchmarks."""
    lines = (
        ["search", *TOY, f"strategy={misspelt('regularized_evolution', chance)}"],
        ["search", f"{misspelt('strategy', chance)}=egnas"],
        ["show", misspelt(chance.choice(list(published_cells())), chance)],
        ["retrain", f"genotype={misspelt('darts_v2', chance)}"],
        ["list", misspelt("strategies", chance)],
        [misspelt("report", chance), "."],
        ["report", ".", "--metric", misspelt("regret", chance)],
        ["data", misspelt("describe", chance)],
        ["data", "describe", misspelt("nasbench201", chance)],
        ["data", "import", misspelt("nasbench101", chance), "x.csv"],
        ["resume", misspelt("outputs", chance)],
        ["search", misspelt("--multirun", chance), *TOY],
        ["search", "--cfg", misspelt("hydra", chance)],
        [word(junk(chance)), *(word(junk(chance)) for _ in range(chance.randint(0, 3)))],
        [chance.choice(("show", "list", "report", "resume", "data")), word(junk(chance))],
    )
    return nasrun(*chance.choice(lines))

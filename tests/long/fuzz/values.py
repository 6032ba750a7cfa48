"""Values that hardly anything expects, and ways to damage those that are expected."""

from __future__ import annotations

import json
import random
from typing import Any

PROGRAM = "import pathlib; pathlib.Path('owned').touch()"  # what hostile input tries to run

QUICK = ["dataset=synthetic", "dataset.num_train=64", "dataset.num_test=16", "dataset.size=8"]
TOY = [*QUICK, "space=toy", "strategy=egnas", "population.size=4", "budget.epochs=2"]
HOSTILE_TEXTS = (
    "",
    " ",
    "x" * 5_000,
    "\x1b[2J[red]x[/nope]",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../precious",
    "/etc/passwd",
    "\ud800",
    "a\x00b",
    "名前\u202e",
    "${oc.env:SECRET}",
    "${oc.env:NOT_THERE}",
    "${hydra:runtime.cwd}",
    "${oc.create:{_target_: os.system, _args_: [touch owned]}}",
    "${x",
    "$$",
    "10**9",
    "null",
    "???",
    "{a}",
    "%s%n",
    f"__import__('os').system({PROGRAM!r})",
)
NUMBERS = (0, -1, 1, 2, 3, 0.5, 1e-300, 1e308, -1e308, 10**6, 10**9, 10**12, 2**63, 10**30, 10**400)
OTHERS: tuple[Any, ...] = (None, True, False, float("nan"), float("inf"), -float("inf"), [], {})
TARGETS = (
    "os.system",
    "builtins.exec",
    "nasrun.runs.folder.os.system",
    "nasrun.runs.folder.subprocess.run",
    "nasrun.cli.main.main",
    "nasrun.datasets.npz.np.load",
    "nasrun.strategies.evolution.base.DiscreteSearch",
    "nasrun.strategies.egnas.cma_es.EvolutionStrategies",
    "nasrun.spaces.toy.Toy",
    "nasrun.spaces.toy._unit",
    "nasrun.spaces.",
    "nasrun",
    "",
)


def junk(chance: random.Random) -> Any:
    """A value that hardly anything expects."""
    pool = chance.choice((HOSTILE_TEXTS, NUMBERS, OTHERS))
    if chance.random() < 0.1:
        return [junk(chance) for _ in range(chance.randint(1, 3))]
    return {"_target_": chance.choice(TARGETS)} if chance.random() < 0.05 else chance.choice(pool)


def changed(value: Any, chance: random.Random) -> Any:
    """Nested containers with one place changed: replaced, removed, doubled or renamed."""
    if chance.random() < 0.1 or not isinstance(value, list | dict) or not value:
        return junk(chance)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    how = chance.random()
    if how < 0.6:
        copy[key] = changed(copy[key], chance)
    elif how < 0.75:
        del copy[key]
    elif isinstance(copy, list):
        copy.insert(key, copy[chance.choice(keys)])
    else:
        copy[str(chance.choice(HOSTILE_TEXTS))] = copy[key]
    return copy


def broken_json(value: Any, chance: random.Random) -> bytes:
    """JSON of `value`, changed, cut, or something else altogether."""
    how = chance.random()
    if how < 0.75:
        for _ in range(chance.randint(1, 3)):
            value = changed(value, chance)
        return json.dumps(value).encode()
    if how < 0.85:
        return flipped(json.dumps(value).encode(), chance)
    whole = ("[" * 10_000, '{"a":' * 10_000, "9" * 100_000, "\ufeff{}", "{", "NaN", "", "[[]]" * 9)
    return chance.choice([*(text.encode() for text in whole), b"\xff\xfe\x00", b"\x00" * 100])


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Cut, or with a few bytes changed, doubled or left out."""
    if chance.random() < 0.3:
        return content[: chance.randrange(len(content) + 1)]
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 50))):
        place = chance.randrange(len(changed) or 1)
        changed[place : place + chance.choice((0, 1, 1, 1, 4))] = chance.randbytes(1)
    return bytes(changed)


def word(value: Any) -> str:
    """A value as somebody might type it."""
    if isinstance(value, list):
        return f"[{','.join(map(word, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{word(one)}" for key, one in value.items()) + "}"
    try:
        return "null" if value is None else str(value)
    except ValueError:
        return "1" + "0" * 400

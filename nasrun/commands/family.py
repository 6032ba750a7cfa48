"""`nasrun family RUN`: networks of many sizes out of one supernet."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasrun.config import plugins
from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError, require
from nasrun.runs import run_names
from nasrun.storage.durable import make_folder
from nasrun.storage.folder_lock import FolderLock
from nasrun.terminal import console
from nasrun.terminal.progress import Display

FILE = "family.json"


def main(arguments: Sequence[str]) -> None:
    """Choose members, train their shared weights on, write each, and show what it costs.

    Raises:
        UsageError: the run has no supernet that networks inherit from.
    """
    parsed = _parsed(arguments)
    run = run_names.path_of(parsed.run, run_names.SUPERNET)
    from nasrun.engine.family import PROGRESS_FILE, Family, require_weights  # torch
    from nasrun.engine.family_choice import compared
    from nasrun.engine.family_members import write_json, write_member, written
    from nasrun.launch.replay import load_config, recorded_dataset, recorded_node

    folder: Path = parsed.out or run / "family"
    if (folder / FILE).exists():
        raise UsageError(f"{folder} has a family already: type --out and another folder")
    require_weights(run)
    node, dataset = recorded_node(run, "space"), recorded_dataset(run)
    family = Family(run, plugins.build(node), dataset, int(load_config(run).seed))
    chosen = family.choose(parsed.members)
    make_folder(folder)
    lock = FolderLock(folder)  # let go with the process
    display = Display()
    display.start("family", "epoch", parsed.epochs, 0)
    family.train(chosen, parsed.epochs, folder, display.progress)
    rate = family.tuning_rate(chosen, parsed.tune, display.progress)
    members = list[dict[str, Any]]()
    width, some = len(str(len(chosen))), compared(len(chosen), parsed.compare)
    for number, candidate in enumerate(chosen, start=1):
        own, is_compared = folder / f"{number:0{width}}", number - 1 in some
        recipe = {"epochs": parsed.epochs, "tune": parsed.tune, "compared": int(is_compared)}
        figures = written(own, candidate, recipe)
        if figures is None:
            member = family.member(candidate, parsed.tune, rate, display.progress)
            if is_compared:
                scratch = family.from_scratch(candidate, display.progress)
                member = replace(member, scratch_accuracy=scratch)
            figures = write_member(member, own, recipe, run, node, dataset)
        members.append(figures)
    display.finish()
    write_json(folder / FILE, members)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    lock.release()
    if rate is not None:
        console.say(f"members were tuned at a learning rate of {rate:g}, the best in validation")
    _show(members, folder, width)


def _parsed(arguments: Sequence[str]) -> Namespace:
    parser = argument_parser("family")
    parser.add_argument("run")
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--compare", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    require(parsed.tune >= 0, "--tune", parsed.tune, "at least 0")
    require(parsed.compare >= 0, "--compare", parsed.compare, "at least 0")
    return parsed


def _show(members: Sequence[Mapping[str, Any]], folder: Path, width: int) -> None:
    rows = [
        [
            f"{number:0{width}}",
            member["id"],
            f"{member['params']:,}",
            f"{member['flops']:,}",
            f"{member['latency_ms']:.2f}",
            f"{100 * member['inherited_accuracy']:.2f}",
            f"{100 * member['test_accuracy']:.2f}",
            shown(member["scratch_accuracy"]),
        ]
        for number, member in enumerate(members, start=1)
    ]
    columns = ["member", "genotype", "parameters", "multiply-adds", "ms, batch 1"]
    columns += ["inherited, test %", "in the end, test %", "from scratch, test %"]
    console.table("the family, the smallest first", columns, rows, text_columns=2)
    for sentence in distances(members):
        console.say(sentence)
    first, last = members[0]["flops"], members[-1]["flops"]
    console.say(
        f"{len(members)} networks, multiply-adds 1 to {last / first:.1f}; each is a folder of "
        f"{folder}: nasrun export {folder / rows[0][0]}"
    )


def distances(members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how far members are from a training of their own, where some were compared with it.

    >>> one = {"scratch_accuracy": 0.95, "test_accuracy": 0.9}
    >>> list(distances([one, {"scratch_accuracy": 0.5, "test_accuracy": 0.51}]))
    ['2 members trained from scratch as well: 2.00 points better on average, 5.00 at most']
    """
    known = [one for one in members if one["scratch_accuracy"] is not None]
    points = [100 * (one["scratch_accuracy"] - one["test_accuracy"]) for one in known]
    if points:
        mean = sum(points) / len(points)
        yield (
            f"{len(points)} members trained from scratch as well: {abs(mean):.2f} points "
            f"{'better' if mean >= 0 else 'worse'} on average, {max(points):.2f} at most"
        )


def shown(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{100 * accuracy:.2f}"

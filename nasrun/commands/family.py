"""`nasrun family RUN`: networks of many sizes out of one supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.config import plugins
from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError
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
    parser = argument_parser("family")
    parser.add_argument("run")
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    run = run_names.path_of(parsed.run, run_names.SUPERNET)
    from nasrun.engine.family import PROGRESS_FILE, Family, require_weights  # torch
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
    members = list[dict[str, Any]]()
    width, recipe = len(str(len(chosen))), {"epochs": parsed.epochs, "tune": parsed.tune}
    for number, candidate in enumerate(chosen, start=1):
        own = folder / f"{number:0{width}}"
        figures = written(own, candidate, recipe)
        if figures is None:
            member = family.member(candidate, parsed.tune, display.progress)
            figures = write_member(member, own, recipe, run, node, dataset)
        members.append(figures)
    display.finish()
    write_json(folder / FILE, members)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    lock.release()
    _show(members, folder, width)


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
        ]
        for number, member in enumerate(members, start=1)
    ]
    columns = ["member", "genotype", "parameters", "multiply-adds", "ms, batch 1"]
    columns += ["inherited, test %", "in the end, test %"]
    console.table("the family, the smallest first", columns, rows, text_columns=2)
    first, last = members[0]["flops"], members[-1]["flops"]
    console.say(
        f"{len(members)} networks, multiply-adds 1 to {last / first:.1f}; each is a folder of "
        f"{folder}: nasrun export {folder / rows[0][0]}"
    )

"""`nasrun family RUN`: networks of many sizes out of one supernet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError
from nasrun.genotypes.source import FILE_NAME
from nasrun.storage.durable import replacing
from nasrun.terminal import console
from nasrun.terminal.progress import Display

if TYPE_CHECKING:
    from nasrun.engine.family import Member

FILE = "family.json"
CONFIG = Path(".hydra") / "config.yaml"


def main(arguments: Sequence[str]) -> None:
    """Choose members, train their shared weights on, write each, and show what it costs.

    Raises:
        UsageError: the run has no supernet that networks inherit from.
    """
    parser = argument_parser("family")
    parser.add_argument("run", type=Path)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    from nasrun.config import plugins
    from nasrun.engine.family import Family, require_weights  # torch
    from nasrun.launch.replay import load_config, recorded_dataset, recorded_node

    folder: Path = parsed.out or parsed.run / "family"
    if (folder / FILE).exists():
        raise UsageError(f"{folder} has a family already: type --out and another folder")
    require_weights(parsed.run)
    node, dataset = recorded_node(parsed.run, "space"), recorded_dataset(parsed.run)
    seed = int(load_config(parsed.run).seed)
    family = Family(parsed.run, plugins.build(node), dataset, seed)
    chosen = family.choose(parsed.members)
    folder.mkdir(parents=True, exist_ok=True)
    display = Display()
    display.start("family", "epoch", parsed.epochs, 0)
    family.train(chosen, parsed.epochs, folder, display.progress)
    display.finish()
    members = [family.member(candidate) for candidate in chosen]
    width = len(str(len(members)))
    for number, member in enumerate(members, start=1):
        own = folder / f"{number:0{width}}"
        own.mkdir(exist_ok=True)
        family.write(member, node, own)
        (own / CONFIG).parent.mkdir(exist_ok=True)
        shutil.copyfile(parsed.run / CONFIG, own / CONFIG)
    with replacing(folder / FILE) as path:
        path.write_text(json.dumps([_plain(one) for one in members], indent=2) + "\n", "utf-8")
    _show(members, folder, width)


def _plain(member: Member) -> dict[str, object]:
    candidate = member.candidate
    return {
        "genotype": candidate.genotype.to_json(),
        "params": candidate.params,
        "flops": candidate.flops,
        "latency_ms": member.latency_ms,
        "test_accuracy": member.test_accuracy,
    }


def _show(members: Sequence[Member], folder: Path, width: int) -> None:
    rows = [
        [
            f"{number:0{width}}",
            member.candidate.genotype.short_id,
            f"{member.candidate.params:,}",
            f"{member.candidate.flops:,}",
            f"{member.latency_ms:.2f}",
            f"{100 * member.test_accuracy:.2f}",
        ]
        for number, member in enumerate(members, start=1)
    ]
    columns = [
        "member",
        "genotype",
        "parameters",
        "multiply-adds",
        "ms, batch 1",
        "test accuracy %",
    ]
    console.table("the family, the smallest first", columns, rows, text_columns=2)
    first, last = members[0].candidate.flops, members[-1].candidate.flops
    console.say(
        f"{len(members)} networks, multiply-adds 1 to {last / first:.1f}; each is a folder of "
        f"{folder}, with its {FILE_NAME}: nasrun export {folder / rows[0][0]}"
    )

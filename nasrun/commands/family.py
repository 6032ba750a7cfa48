"""`nasrun family RUN`: networks of many sizes out of one supernet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.config.commands import argument_parser
from nasrun.errors import UsageError
from nasrun.genotypes.source import FILE_NAME
from nasrun.runs.folder import read_json
from nasrun.storage.durable import make_folder, replacing
from nasrun.terminal import console
from nasrun.terminal.progress import Display

if TYPE_CHECKING:
    from nasrun.engine.family import Candidate, Member

FILE, MEMBER_FILE = "family.json", "member.json"
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
    parser.add_argument("--tune", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parsed = parser.parse_args(arguments)
    from nasrun.config import plugins
    from nasrun.engine.family import PROGRESS_FILE, Family, require_weights  # torch
    from nasrun.launch.replay import load_config, recorded_dataset, recorded_node

    folder: Path = parsed.out or parsed.run / "family"
    if (folder / FILE).exists():
        raise UsageError(f"{folder} has a family already: type --out and another folder")
    require_weights(parsed.run)
    node, dataset = recorded_node(parsed.run, "space"), recorded_dataset(parsed.run)
    seed = int(load_config(parsed.run).seed)
    family = Family(parsed.run, plugins.build(node), dataset, seed)
    chosen = family.choose(parsed.members)
    make_folder(folder)
    display = Display()
    display.start("family", "epoch", parsed.epochs, 0)
    family.train(chosen, parsed.epochs, folder, display.progress)
    display.finish()
    members = list[dict[str, Any]]()
    width, recipe = len(str(len(chosen))), {"epochs": parsed.epochs, "tune": parsed.tune}
    for number, candidate in enumerate(chosen, start=1):
        own = folder / f"{number:0{width}}"
        made = _made(own, candidate, recipe)
        if made is None:
            (own / CONFIG).parent.mkdir(parents=True, exist_ok=True)
            member = family.member(candidate, parsed.tune, display.progress)
            family.write(member, node, own)
            shutil.copyfile(parsed.run / CONFIG, own / CONFIG)
            made = {**_plain(member), "recipe": recipe}
            _write(own / MEMBER_FILE, made)
        members.append(made)
    _write(folder / FILE, members)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)
    _show(members, folder, width)


def _made(own: Path, candidate: Candidate, recipe: Mapping[str, int]) -> dict[str, Any] | None:
    """Return what a call that was interrupted has measured of a member, if it had come so far."""
    if not (own / MEMBER_FILE).is_file():
        return None
    found = read_json(own / MEMBER_FILE)
    same = isinstance(found, dict) and found.get("recipe") == recipe
    return found if same and found.get("genotype") == candidate.genotype.to_json() else None


def _write(target: Path, content: object) -> None:
    with replacing(target) as path:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _plain(member: Member) -> dict[str, Any]:
    candidate = member.candidate
    return {
        "genotype": candidate.genotype.to_json(),
        "id": candidate.genotype.short_id,
        "params": candidate.params,
        "flops": candidate.flops,
        "latency_ms": member.latency_ms,
        "inherited_accuracy": member.inherited_accuracy,
        "test_accuracy": member.test_accuracy,
    }


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
        f"{folder}, with its {FILE_NAME}: nasrun export {folder / rows[0][0]}"
    )

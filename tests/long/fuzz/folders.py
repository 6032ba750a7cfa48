"""Folders: runs, their checkpoints, sweeps and configurations that somebody else has made."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tests.long.fuzz.command_line import Trial, nasrun
from tests.long.fuzz.files import pickled
from tests.long.fuzz.values import PROGRAM, QUICK, TOY, broken_json, changed, flipped, junk, word


def checkpoints(chance: random.Random, home: Path) -> Trial:
    """A run folder whose checkpoint is cut, changed, of another run, or a program."""
    shutil.copytree(home / "run", "run")
    path = Path("run/checkpoint.pt")
    how = chance.random()
    if how < 0.3:
        path.write_bytes(flipped(path.read_bytes(), chance))
    elif how < 0.4:
        path.write_bytes(chance.choice((pickled(), b"", zipped_pickle(path.read_bytes()))))
    else:
        content = torch.load(path, weights_only=True)
        for _ in range(chance.randint(1, 2)):
            content = changed_state(content, chance)
        with contextlib.suppress(Exception):  # what cannot be saved is no checkpoint
            torch.save(content, path)
    if chance.random() < 0.2:
        shutil.copy(path, "run/checkpoint.previous.pt")
    return nasrun("resume", "run")


def changed_state(value: Any, chance: random.Random) -> Any:
    """Like `changed`, but for states, in which a tensor may get another shape or type."""
    if isinstance(value, torch.Tensor):
        return chance.choice(
            (value[:0], value.double() * np.nan, value[None], torch.zeros(3), junk(chance))
        )
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        keys = list(copy) if isinstance(copy, dict) else list(range(len(copy)))
        key = chance.choice(keys)
        if chance.random() < 0.15:
            del copy[key]
        else:
            copy[key] = changed_state(copy[key], chance)
        return copy
    return junk(chance)


def zipped_pickle(checkpoint: bytes) -> bytes:
    """A checkpoint in torch's format whose pickle is a program."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            is_pickle = info.filename.endswith("data.pkl")
            new.writestr(info.filename, pickled() if is_pickle else old.read(info))
    return made.getvalue()


def run_folders(chance: random.Random, home: Path) -> Trial:
    """A run folder with half-written, foreign or hostile files, resumed, repeated or reported."""
    shutil.copytree(home / "run", "run")
    damage_run(Path("run"), chance)
    return nasrun(*chance.choice(RUN_COMMANDS))


RUN_COMMANDS = (
    ["resume", "run"],
    ["resume", "run"],
    ["report", "run", "--out", "report"],
    ["show", "run"],
    ["search", "--from", "run", "hydra.run.dir=again"],
    ["search", "--from", "run", "seed=1", "hydra.run.dir=again"],
    ["retrain", *QUICK, "genotype=run", "hydra.run.dir=again"],
)


def damage_run(run: Path, chance: random.Random) -> None:
    name = chance.choice(
        ("run.json", "run.json", "result.json", "genotype.json", "config", "link", "link")
    )
    if name == "config":
        return damage_config(run / ".hydra" / "config.yaml", chance)
    if name == "link":
        return link_somewhere(run, chance)
    path = run / name
    path.write_bytes(broken_json(json.loads(path.read_text()), chance))
    return None


def damage_config(path: Path, chance: random.Random) -> None:
    how = chance.random()
    if how < 0.6:
        content = yaml.safe_load(path.read_text())
        for _ in range(chance.randint(1, 3)):
            content = changed(content, chance)
        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError):
            path.write_text(yaml.safe_dump(content))
    elif how < 0.8:
        path.write_bytes(flipped(path.read_bytes(), chance))
    else:
        path.write_text(chance.choice(HOSTILE_YAML))


ENDLESS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE_YAML = (
    f"!!python/object/apply:os.system ['{PROGRAM}']",
    ENDLESS,
    "[" * 5_000,
    "hydra:\n  callbacks:\n    x:\n      _target_: os.system\n",
    "strategy: {_target_: os.system, command: touch owned}",
    "? [a, b]\n: 1",
    "1: 2\n2020-01-01: x\n",
    "a: *nothing",
    "\t",
    "- a",
    "x: !!binary aGk=\ny: 2020-01-01\nz: !!set {a, b}",
    "seed: ${oc.env:SECRET}",
)


def link_somewhere(run: Path, chance: random.Random) -> None:
    """At any depth, in the place of what is there or beside it, a link, pipe, folder or device."""
    inside = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    path = run / chance.choice(
        (*inside, "error.log", ".lock", "floor", "floor/random", "floor/random/metrics.jsonl",
         "floor/random/tensorboard", "tensorboard/more", "a/b/c/search.log")
    )  # fmt: skip
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    how = chance.randrange(7)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.hardlink_to("../precious")
    elif how == 3:
        path.symlink_to(Path("../treasure").resolve())
    else:
        outside = os.path.relpath("../precious", path.parent)
        path.symlink_to((outside, "/dev/zero", "loop")[how - 4])
        if how == 6:
            (path.parent / "loop").unlink(missing_ok=True)
            (path.parent / "loop").symlink_to("loop")


def sweeps(chance: random.Random, home: Path) -> Trial:
    """The record of a sweep, changed: other folders, other jobs, other flags."""
    shutil.copytree(home / "sweep", "sweep")
    record = json.loads(Path("sweep/sweep.json").read_text())
    how = chance.random()
    if how < 0.5:
        Path("sweep/sweep.json").write_bytes(broken_json(record, chance))
    elif how < 0.8:
        record["arguments"].append(chance.choice(HOSTILE_WORDS))
        Path("sweep/sweep.json").write_text(json.dumps(record))
    elif how < 0.9:
        record["jobs"][0]["overrides"].append(chance.choice(HOSTILE_WORDS))
        Path("sweep/sweep.json").write_text(json.dumps(record))
    else:
        damage_run(Path("sweep/0-s0"), chance)
    if chance.random() < 0.2:
        return nasrun("report", "sweep", "--out", "report")
    return nasrun("resume", "sweep")


HOSTILE_WORDS = (
    "+hydra.callbacks.x._target_=os.system",
    " +hydra.callbacks.x._target_=os.system",
    "hydra/callbacks=x",
    "+dataset@hydra.callbacks.x=digits",
    "hydra.sweep.dir=../../elsewhere",
    "hydra.sweep.subdir=../../elsewhere",
    "hydra.run.dir=/tmp/elsewhere",
    "hydra.job_logging.root.handlers=[x]",
    "hydra/job_logging=default",
    "hydra/launcher=joblib",
    "hydra.job.env_set.PATH=x",
    "hydra.searchpath=[file:///tmp]",
    "--config-dir=.",
    "--config-path=.",
    "--experimental-rerun=x",
    "--from=../run",
    "strategy._target_=os.system",
    "+strategy.x={_target_:os.system}",
    "seed=1,2,3",
    "seed=${oc.env:SECRET}",
    "~seed",
    "",
)


def config_folders(chance: random.Random, _: Path) -> Trial:
    """A folder of somebody else's configurations, given with --config-dir."""
    folder = Path("conf") / chance.choice(("", "strategy", "dataset", "hydra/callbacks", "mine"))
    folder.mkdir(parents=True)
    header = chance.choice(
        ("", "# @package _global_\n", "# @package hydra.callbacks.x\n", "# @package _name_\n")
    )
    (folder / "hydra.yaml").write_text(header + chance.choice(HOSTILE_CONFIGS))
    group = str(folder.relative_to("conf")).removeprefix(".")
    flags = [f"--config-{chance.choice(('dir', 'dir', 'dir', 'path'))}=conf"]
    if not group or chance.random() < 0.2:
        flags.append("--config-name=hydra")
    words = [f"{chance.choice(('', '+', '+'))}{group}=hydra"] if group else []
    more = chance.choice(([], [], ["--cfg", "job"], ["-m"]))
    return nasrun("search", *flags, *more, *TOY, *words)


OPENS = "{_target_: builtins.open, file: owned, mode: w}"
HOSTILE_CONFIGS = (
    ENDLESS,
    "_target_: os.system\n",
    f"_target_: builtins.exec\n_args_: [\"{PROGRAM}\"]\n",
    f"hydra:\n  callbacks: {{x: {{_target_: builtins.exec, _args_: [\"{PROGRAM}\"]}}}}\n",
    "callbacks:\n  x:\n    _target_: builtins.open\n    file: owned\n    mode: w\n",
    "x:\n  _target_: builtins.open\n  file: owned\n  mode: w\n",
    "hydra:\n  job_logging:\n    version: 1\n    root: {handlers: [x]}\n    handlers:\n"
    "      x: {class: logging.FileHandler, filename: owned}\n",
    "hydra:\n  hydra_logging:\n    version: 1\n    root: {handlers: [x]}\n    handlers:\n"
    "      x: {class: logging.FileHandler, filename: owned}\n",
    f"hydra:\n  sweeper:\n    params: {{x: {OPENS}}}\n",
    f"hydra:\n  sweeper:\n    params:\n      x: '${{oc.create:{OPENS}}}'\n",
    "hydra:\n  output_subdir: ../owned\n",
    "hydra:\n  job: {env_set: {PATH: nowhere}}\n",
    "hydra:\n  job: {chdir: true}\n",
    "hydra:\n  searchpath: [file://conf]\n",
    f"hydra: '${{oc.create:{{callbacks: {{x: {OPENS}}}}}}}'\n",
    "defaults:\n  - hydra/callbacks: hydra\n  - mine@hydra.callbacks.x: hydra\n",
    "defaults:\n  - override /strategy: nothing\n  - _self_\n",
    "defaults: 3\n",
    "defaults:\n  - search\n  - _self_\nseed: abc\n",
    "strategy:\n  sigma: ${oc.decode:'1'}\n",
    "name: ${oc.env:SECRET}${nothing:x}\n",
    "- a\n",
    "{",
    "",
    "seed: [1\n",
)  # fmt: skip


def reports(chance: random.Random, home: Path) -> Trial:
    """Folders of runs with odd names and odd figures, reported."""
    for number in range(chance.randint(1, 3)):
        name = chance.choice(("a b", "[red]x", "<script>", "'\"", "\x1b[2J", "x" * 200, "-x"))
        shutil.copytree(home / "run", Path("runs") / f"{name}{number}")
        path = Path("runs") / f"{name}{number}" / chance.choice(("result.json", "run.json"))
        path.write_text(json.dumps(changed(json.loads(path.read_text()), chance)))
        lines = (
            Path("runs") / f"{name}{number}" / chance.choice(("metrics.jsonl", "evaluations.jsonl"))
        )
        if lines.exists():
            lines.write_bytes(flipped(lines.read_bytes(), chance))
    by = ["--by", word(junk(chance))] if chance.random() < 0.2 else []
    return nasrun("report", "runs", "--out", chance.choice(("report", "report", "runs", "-")), *by)

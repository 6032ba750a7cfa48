"""Start runs, open them and compare them from Python, as the commands of the same names do.

Nothing here ends the process: a mistake is a `UsageError`, a run that failed a `RunError`, and
Ctrl-C (or "interrupt kernel") a `KeyboardInterrupt`, after which `nasrun resume` goes on.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from os import PathLike, devnull
from pathlib import Path
from typing import Any

from nasrun.api.frames import Reported, table
from nasrun.api.run_record import Run, opened
from nasrun.config import catalogue, outside
from nasrun.config.flags import flags_first, in_quotes
from nasrun.errors import UsageError
from nasrun.launch.surroundings import errors_of_ours, left_as_they_were
from nasrun.runs import run_names

Overrides = str | Sequence[str] | Mapping[str, Any]
NOT_HERE = ("--multirun", "--cfg", "--info", "--hydra-help")


def search(overrides: Overrides = (), *, quiet: bool = False) -> Run:
    """Search for an architecture and retrain it from scratch, as `nasrun search` does.

    Args:
        overrides: what would be typed: a text, `"strategy=random seed=1"`, a list of such words,
            or a mapping, `{"strategy": "random", "budget.evaluations": 10}`, whose values are
            taken as they are (paths, `None`, lists).
        quiet: whether to say nothing on standard output.

    Raises:
        UsageError: a setting is not possible; nothing was run, and no folder was left.
        RunError: the run has failed; what was computed so far is kept.
    """
    return _started("search", _words(overrides), quiet)


def retrain(
    genotype: str | PathLike[str] | Run, overrides: Overrides = (), *, quiet: bool = False
) -> Run:
    """Train a known architecture from scratch, as `nasrun retrain genotype=...` does.

    Args:
        genotype: a run, or all that `genotype=` can be: a folder, a file, a published name, a text.
        overrides: as in `search`.
        quiet: as in `search`.

    Raises:
        UsageError: as `search`; also where the genotype cannot be read.
        RunError: as `search`.
    """
    named = genotype.path if isinstance(genotype, Run) else genotype
    word = f"genotype={in_quotes(run_names.genotype(str(named)))}"
    return _started("retrain", [word, *_words(overrides)], quiet)


def load(path: str | PathLike[str]) -> Run:
    """Open a run folder; `last` and the beginning of a name will do, as for the commands.

    Raises:
        UsageError: there is no such run, or its files lead out of the folder.
    """
    return opened(run_names.path_of(str(path), run_names.SETTINGS))


def report(
    *folders: str | PathLike[str] | Run,
    by: Sequence[str] | None = None,
    metric: str | None = None,
    out: str | PathLike[str] | None = None,
) -> Reported:
    """Compare many runs, as `nasrun report` does; return where it is written, and its tables.

    Args:
        folders: runs, sweeps, or any folders above them.
        by: keys that tell groups apart; `None`: all that differ but the seed.
        metric: what groups are judged by; `None`: the test accuracy where there is one.
        out: the folder to write to; `None`: a new one below outputs/reports.

    Raises:
        UsageError: a folder has no runs, or a key or a metric is unknown.
    """
    from nasrun.report import files, records  # matplotlib

    paths = [one.path if isinstance(one, Run) else Path(one) for one in folders]
    if not paths:
        raise UsageError("nasrun.report needs a folder: nasrun.report('outputs')")
    found = [run_names.path_of(str(one), run_names.ANY) for one in paths]
    target = None if out is None else Path(out)
    line = shlex.join(["nasrun", "report", *map(str, found)])
    made = files.make(found, None if by is None else list(by), metric, target, line)
    return Reported(
        made.folder,
        made.folder / "report.html",
        table(records.groups(made.report)),
        table(records.pairs(made.report)),
        table(records.runs(made.report)),
    )


def _words(overrides: Overrides) -> list[str]:
    """Write overrides as they would be typed."""
    if isinstance(overrides, str):
        return shlex.split(overrides)
    if isinstance(overrides, Mapping):
        from nasrun.launch.replay import literal

        return [f"{key}={literal(value)}" for key, value in overrides.items()]
    return [str(word) for word in overrides]


def _started(command: str, words: Sequence[str], quiet: bool) -> Run:
    """Run one job of a command, and return its folder."""
    from nasrun.launch import prepare_retrain, prepare_search
    from nasrun.launch.launch import launch

    prepare = {"search": prepare_search.prepare, "retrain": prepare_retrain.prepare}[command]
    with left_as_they_were(), errors_of_ours([command, *words]), open(devnull, "w") as nowhere:
        known = outside.taken(words, catalogue.conf_dir())
        ordered = run_names.in_words(command, flags_first(known))
        refused = [word for word in ordered if word.partition("=")[0] in NOT_HERE]
        if refused or any(word.startswith("hydra.mode=") for word in ordered):
            raise UsageError(
                f"nasrun.{command} runs one job, and no {' '.join(refused) or 'sweep'}: call it in "
                f"a loop, or type nasrun {command} {shlex.join(words)}"
            )
        if quiet:
            with redirect_stdout(nowhere):
                outcomes = launch(command, prepare, ordered)
        else:
            outcomes = launch(command, prepare, ordered)
    return Run(outcomes[0].folder)

"""Try in miniature what `nasrun search` or `retrain` would do with the same words.

All that is wrong is told in one message. Every job of a sweep is built; where jobs differ only in
the seed and the weights of the fitness, the first of them is rehearsed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nasrun.check.checks import Checks, uncomposable
from nasrun.config import catalogue
from nasrun.config.flags import in_quotes
from nasrun.config.hydra_errors import sentence
from nasrun.errors import UsageError, raise_together
from nasrun.launch.interruption import terminated_as_interrupted
from nasrun.launch.launch import run_under_hydra, without_chdir
from nasrun.launch.replay import FLAG, replayed
from nasrun.runs.folder import RUN_FILE, read_json


def main(arguments: Sequence[str]) -> None:
    """Rehearse the jobs; raise a `UsageError` that says all that is wrong."""
    command = _command(arguments)
    words, source = replayed(command, without_chdir(arguments))
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nasrun-check-") as home:
        while True:
            checks = Checks(command, words, source, Path(home))
            try:
                with terminated_as_interrupted():
                    run_under_hydra(checks)
                break
            except UsageError as error:  # the run folder cannot be made
                elsewhere = f"hydra.run.dir={in_quotes(f'{home}/run')}"
                if elsewhere in words:
                    raise
                problems.append(str(error))
                words = [*words, elsewhere]
            except Exception as error:
                told = sentence(error, [command, *words])
                if told is None:
                    raise
                faults, composable = uncomposable(command, words)
                if not faults:
                    raise
                problems += faults
                words = composable
    raise_together([*problems, *checks.told()])
    checks.show()


def _command(arguments: Sequence[str]) -> str:
    """Return the command whose jobs are checked.

    It is "retrain" where a genotype or a network is given, `--from` names a retraining, or the
    recipe chooses nothing that only a search has; else "search".
    """
    keys = {word.partition("=")[0].lstrip("+") for word in arguments}
    kinds = set[object]()
    for word in arguments:
        file = Path(word.removeprefix(FLAG)) / RUN_FILE
        if word.startswith(FLAG) and file.is_file():
            record = read_json(file)
            kinds.add(record.get("kind") if isinstance(record, dict) else None)
    known = {"genotype", "network"} & keys
    return "retrain" if known or "retrain" in kinds or _retrains(arguments) else "search"


def _retrains(arguments: Sequence[str]) -> bool:
    """Return whether a recipe was chosen, and all options that are chosen are a retraining's."""
    root = catalogue.conf_dir()
    chosen = catalogue.chosen_options([word.lstrip("+") for word in arguments], root)
    groups = catalogue.compose("retrain", root).choices
    recipes = {option.name for option in catalogue.options("experiment", root, groups)}
    return chosen.get("experiment") in recipes and chosen.keys() <= groups.keys()

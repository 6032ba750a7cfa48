"""`nasrun search`: the adapter between Hydra and `nasrun.search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from nasrun import config as configuration
from nasrun.commands import hparams
from nasrun.commands.job import Prepared
from nasrun.commands.launch import launch
from nasrun.runs import RunFolder
from nasrun.ui import Display


def main(arguments: Sequence[str]) -> None:
    launch("search", prepare, arguments)


def prepare(config: DictConfig, overrides: Sequence[str], *, quiet: bool = False) -> Prepared:
    """Everything that can be wrong is found here, before a file is written."""
    settings = configuration.to_typed(config, configuration.SearchConfig)
    # torch is imported from here on, and not for --cfg or completion
    from nasrun import floor, process_group, retrain
    from nasrun.drive import open_session
    from nasrun.search import bytes_written, run_search
    from nasrun.wiring import Wiring

    display = Display(quiet)
    group = process_group.join(settings.device)
    wiring = Wiring(settings, display.progress, group)
    strategy = wiring.strategy  # built now, so that its mistakes are found now
    if settings.retrain.epochs > 0:
        retrain.require_possible(settings.retrain, wiring.dataset.train)

    def make(own: configuration.SearchConfig) -> Wiring:
        return Wiring(own, display.progress)

    floors = floor.wirings(settings, strategy, make) if settings.floor else {}

    def run(folder: RunFolder) -> Mapping[str, Any]:
        accuracies = group.of_first(lambda: floor.run(floors, folder, display))
        with open_session(wiring, folder, "search", display) as session:
            result = run_search(wiring, settings, session, accuracies)
            hparams.record(session.recorder, config, overrides, result)
        return result

    return Prepared(
        {"kind": "search", **wiring.record()},
        run,
        configuration.decisive(settings),
        bytes_written(wiring, state=strategy.state_dict()),
        group,
    )

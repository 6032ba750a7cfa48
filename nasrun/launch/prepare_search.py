"""Prepare a job of `nasrun search`: build everything, and find all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from omegaconf import DictConfig

from nasrun.config import checks, compose, identity, schema
from nasrun.errors import raise_together
from nasrun.launch import hparams, tracker
from nasrun.launch.supervision import Prepared
from nasrun.protocols.result import Result
from nasrun.runs.folder import RunFolder
from nasrun.terminal.progress import Display


def prepare(
    config: DictConfig,
    overrides: Sequence[str],
    choices: Mapping[str, str],
    *,
    display: Display | None = None,
    places: Mapping[str, str] = MappingProxyType({}),
) -> Prepared:
    """Find everything that can be wrong, before a file is written."""
    settings = compose.to_typed(config, schema.SearchConfig, choices, places)
    raise_together([*checks.all_faults(settings), *checks.missing_places(settings)])
    # torch is imported from here on, and not for --cfg or completion
    from nasrun.compute import process_group
    from nasrun.engine import batches, floor, retrain
    from nasrun.engine.drive import open_session
    from nasrun.engine.search import bytes_written, run_search
    from nasrun.engine.wiring import Wiring

    display = display or Display()
    group = process_group.join(settings.device)
    wiring = Wiring(settings, display.progress, group)
    strategy = wiring.strategy  # built now, so that its mistakes are found now
    if settings.retrain.epochs > 0:
        retrain.require_possible(settings.retrain, wiring.dataset.train)
    batches.require_possible(wiring)

    tracked = tracker.of_run(settings, config, choices, wiring, "search")

    def make(own: schema.SearchConfig) -> Wiring:
        return Wiring(own, display.progress)

    floors = floor.wirings(settings, strategy, make) if settings.floor else {}

    def run(folder: RunFolder) -> Result:
        for note in batches.notes(wiring):
            display.message(note)
        accuracies = group.of_first(lambda: floor.run(floors, folder, display))
        begin = partial(tracker.begin, tracked, display.message)
        with open_session(wiring, folder, "search", display, begin) as session:
            result = run_search(wiring, settings, session, accuracies)
            hparams.record(session.recorder, config, overrides, result)
        return result

    return Prepared(
        {"kind": "search", **wiring.record()},
        run,
        identity.decisive(settings),
        bytes_written(wiring, state=strategy.state_dict()),
        group,
        tracked,
    )

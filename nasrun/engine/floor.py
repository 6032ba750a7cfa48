"""Run the floor that a search which buys labels must beat: simple methods with the same labels.

A floor is a search of its own, in `floor/<strategy>/` of the run folder: same space, data,
evaluator, budget and seed, and nothing is retrained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nasrun.benchmarks import store
from nasrun.config import plugins
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.drive import open_session
from nasrun.engine.search import run_search
from nasrun.engine.untrained import computed
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.protocols.strategy import Strategy
from nasrun.runs.folder import RunFolder
from nasrun.runs.result_file import RESULT_FILE, read_result
from nasrun.terminal.progress import Display

FLOORS = (
    *("climb_from_largest", "rank_by_proxy"),
    *("ridge_evolution", "gp_evolution", "local_search"),
)


def wirings(
    settings: SearchConfig, strategy: Strategy, make: Callable[[SearchConfig], Wiring]
) -> dict[str, Wiring]:
    """Build and check the floors of a search: all but the search's own strategy.

    Args:
        make: from the configuration of a floor to its wiring.

    Raises:
        UsageError: the search buys no labels, or as many as fit into a time.
    """
    if strategy.labels is None:
        raise UsageError(
            "floor=true compares searches that spend budget.evaluations, and this strategy spends "
            "none: leave floor out"
        )
    if settings.budget.seconds is not None:
        raise UsageError(
            f"floor=true compares searches with equally many labels, and budget.seconds="
            f"{settings.budget.seconds} ends them after different numbers: leave out one of them"
        )
    floors = {}
    for name in FLOORS:
        if name == plugins.option(settings.strategy):
            continue
        budget = f"budget.evaluations={settings.budget.evaluations}"
        composed = to_typed(
            compose("search", [f"strategy={name}", budget]), SearchConfig, {"strategy": name}
        )
        own = replace(
            settings,
            strategy=composed.strategy,
            predictor=composed.predictor,
            retrain=replace(settings.retrain, epochs=0),
            floor=False,
        )
        made = make(own)
        if name == "rank_by_proxy" and not scores_are_cheap(made):
            continue
        floors[name] = made
        floors[name].strategy  # noqa: B018 - built now, so that its mistakes are found now
    return floors


def scores_are_cheap(wiring: Wiring) -> bool:
    """Return whether scores without training take little beside the labels of a search.

    They do where a table has them, or where a label is a training. To score untrained networks
    beside labels that are looked up would take longer than the search and all other floors.
    """
    settings = wiring.search_settings
    if computed(settings) is None:
        return store.has_scores(wiring.space.name, wiring.dataset_name)
    kind = plugins.target(settings.evaluator)
    return bool(kind.needs_images and not kind.reads_table and not kind.labels_are_scores)


def run(floors: Mapping[str, Wiring], folder: RunFolder, display: Display) -> dict[str, float]:
    """Return the validation score that each floor reaches; one that was run already is read.

    It is the accuracy, or what the searches maximise in its place.
    """
    scores = {}
    for name, wiring in floors.items():
        path = folder.path / "floor" / name
        if (path / RESULT_FILE).exists():
            result = read_result(path)
        else:
            with (
                RunFolder(path) as own,
                open_session(wiring, own, "search", display) as session,
            ):
                session.log(f"floor: {name}")
                result = run_search(wiring, wiring.search_settings, session)
        if result.search_score is None:
            raise UsageError(f"{path / RESULT_FILE} is not the result of a search")
        scores[name] = result.search_score
    return scores

"""Translate the targets of plug-ins that have moved, so that runs of earlier versions go on.

A run folder records where each plug-in was when it was made. Resume, `--from` and report compare
these records with today's configuration, and must not take a moved module for another setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARGETS = {
    f"nasrun.strategies.{old}": f"nasrun.strategies.{new}"
    for old, new in {
        "bananas.BANANAS": "guided.bananas.BANANAS",
        "dclenas.DCLENAS": "guided.dclenas.DCLENAS",
        "egnas.EGNAS": "egnas.egnas.EGNAS",
        "egnas_as_published.EGNASAsPublished": "egnas.egnas_as_published.EGNASAsPublished",
        "genetic.Genetic": "evolution.genetic.Genetic",
        "guided.gp_evolution.GPEvolution": "guided.dclenas.DCLENAS",
        "guided.ridge_evolution.RidgeEvolution": "guided.dclenas.DCLENAS",
        "gp_evolution.GPEvolution": "guided.dclenas.DCLENAS",
        "local_search.LocalSearch": "evolution.local_search.LocalSearch",
        "npenas.NPENAS": "guided.npenas.NPENAS",
        "random.RandomSearch": "evolution.random.RandomSearch",
        "regularized_evolution.RegularizedEvolution": (
            "evolution.regularized_evolution.RegularizedEvolution"
        ),
        "ridge_evolution.RidgeEvolution": "guided.dclenas.DCLENAS",
    }.items()
}


def present(target: str) -> str:
    """Return where a plug-in is now; a target that has not moved is returned as it is."""
    return TARGETS.get(target, target)


def with_present_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a configuration, nested or by dotted keys, with the present targets of its plug-ins.

    >>> with_present_targets({"strategy": {"_target_": "nasrun.strategies.egnas.EGNAS"}})
    {'strategy': {'_target_': 'nasrun.strategies.egnas.egnas.EGNAS'}}
    """
    return {key: _translated(key, value) for key, value in config.items()}


def _translated(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return with_present_targets(value)
    names_a_target = str(key).rpartition(".")[2] == "_target_" and isinstance(value, str)
    return present(value) if names_a_target else value

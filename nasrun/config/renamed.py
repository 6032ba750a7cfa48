"""Bring records of plug-ins up to date that have moved, or have got settings since.

A run folder records where each plug-in was when it was made. Resume, `--from` and report compare
these records with today's configuration, and must not take a moved module for another setting. A
setting that came later has here what all runs before it had; defaults of new runs stand in `conf/`.
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


LATER: Mapping[str, Mapping[str, Any]] = {
    **{
        f"nasrun.strategies.egnas.{name}": {"active": False}
        for name in ("egnas.EGNAS", "egnas_as_published.EGNASAsPublished")
    },
    "nasrun.datasets.imagefolder.load_imagefolder": {"test_share": None, "split_seed": 0},
    "nasrun.evaluators.table.TableEvaluator": {"isomorphic": "own"},
    "nasrun.evaluators.train.TrainEvaluator": {"halving": None, "halving_from": 1},
    **{
        f"nasrun.strategies.evolution.{name}": {"initial": "random"}
        for name in (
            "differential_evolution.DifferentialEvolution",
            "eaepso.EAEPSO",
            "epcnas.EPCNAS",
            "genetic.Genetic",
            "local_search.LocalSearch",
            "nsganet.NSGANet",
            "random.RandomSearch",
            "regularized_evolution.RegularizedEvolution",
        )
    },
    **{
        f"nasrun.predictors.{name}": {"features": "code"}
        for name in (
            "dcl.DCL",
            "gaussian_process.GaussianProcess",
            "path_mlp.PathMLP",
            "ridge.Ridge",
        )
    },
    **{
        f"nasrun.strategies.guided.{name}": {"initial": "random", "climbers": 0}
        for name in ("bananas.BANANAS", "dclenas.DCLENAS", "npenas.NPENAS")
    },
}
"""Present target -> settings that records of earlier versions lack, and what they would be."""


def present(target: str) -> str:
    """Return where a plug-in is now; a target that has not moved is returned as it is."""
    return TARGETS.get(target, target)


def with_present_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a configuration, nested or by dotted keys, with the present targets of its plug-ins.

    Settings that these have got since are added.

    >>> with_present_targets({"strategy": {"_target_": "nasrun.strategies.egnas.EGNAS"}})
    {'strategy': {'_target_': 'nasrun.strategies.egnas.egnas.EGNAS', 'active': False}}
    """
    found = {key: _translated(key, value) for key, value in config.items()}
    for key, target in list(found.items()):
        if _names_a_target(key, target):
            for name, value in LATER.get(target, {}).items():
                found.setdefault(f"{str(key).removesuffix('_target_')}{name}", value)
    return found


def _translated(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return with_present_targets(value)
    return present(value) if _names_a_target(key, value) else value


def _names_a_target(key: str, value: Any) -> bool:
    return str(key).rpartition(".")[2] == "_target_" and isinstance(value, str)

"""Build what a run measures besides the error, and the limits that its result is held to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from nasrun.config import catalogue, plugins
from nasrun.config.schema import SearchConfig
from nasrun.errors import UsageError
from nasrun.objectives.limits import SCALES
from nasrun.protocols.measure import Limit, Measure, MeasuredNetworks

GROUP = "objective"
QUANTITIES = {  # key of a constraint -> what it limits, as the options of the group are called
    "params_m": "params",
    "flops_m": "flops",
    "memory_mb": "memory",
    "latency_ms": "latency",
}


def objective_of(settings: SearchConfig, networks: MeasuredNetworks) -> Measure | None:
    """Build what `objective=` names; `None` where it names nothing."""
    if settings.objective is None:
        return None
    measure: Measure = plugins.build(settings.objective, networks)
    return measure


def limits_of(
    settings: SearchConfig, objective: Measure | None, networks: MeasuredNetworks
) -> Iterator[Limit]:
    """Yield the limits of the constraints.

    A quantity is measured by the run's objective where that is of it, else by the option of
    `conf/objective` that is called like it, with the values of its file.

    Raises:
        UsageError: `constraint.objective` without an objective, or besides the constraint of the
            same quantity.
    """
    constraint = settings.constraint
    for name, quantity in QUANTITIES.items():
        at_most = asdict(constraint)[name]
        if at_most is None:
            continue
        key = f"constraint.{name}"
        ours = objective is not None and objective.quantity == quantity
        measure = objective if ours else _by_default(quantity, networks)
        assert measure is not None
        yield Limit(key, measure, at_most * SCALES.get(key, 1.0))
    if constraint.objective is None:
        return
    if objective is None:
        raise UsageError(
            f"constraint.objective={constraint.objective:g} limits an objective, and there is none:"
            " type objective=table, latency, memory, params or flops too"
        )
    yield Limit("constraint.objective", objective, constraint.objective)


def _by_default(quantity: str, networks: MeasuredNetworks) -> Measure:
    node = catalogue.content(GROUP, quantity, catalogue.conf_dir())
    measure: Measure = plugins.build(node, networks)
    return measure


def record(objective: Measure | None, limits: tuple[Limit, ...]) -> list[dict[str, Any]]:
    """Describe for `run.json` what is measured how, and what of it is limited."""
    measures = {id(one): one for one in (objective, *(limit.measure for limit in limits)) if one}
    return [
        {
            **asdict(measure.objective),
            "how": measure.how,
            "at_most": min(
                (limit.at_most for limit in limits if limit.measure is measure), default=None
            ),
        }
        for measure in measures.values()
    ]

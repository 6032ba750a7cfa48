"""Build what a run measures besides the error, and the limits that its result is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nasrun.config import catalogue, plugins
from nasrun.config.schema import SearchConfig
from nasrun.errors import UsageError
from nasrun.genotypes.genotype import Genotype
from nasrun.objectives.limits import SCALES, LimitsOfRun
from nasrun.protocols.labels import Labels
from nasrun.protocols.measure import Limit, Measure, MeasuredNetworks
from nasrun.protocols.result import Cost, FrontMember, Hypervolume

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
) -> list[Limit]:
    """List the limits of the constraints.

    A quantity is measured by the run's objective where that is of it, else by the option of
    `conf/objective` that is called like it, with the values of its file.

    Raises:
        UsageError: `constraint.objective` without an objective, or `constraint.measurements`
            without anything to measure.
    """
    constraint, found = settings.constraint, list[Limit]()
    for name, quantity in QUANTITIES.items():
        at_most = asdict(constraint)[name]
        if at_most is None:
            continue
        key = f"constraint.{name}"
        ours = objective is not None and objective.quantity == quantity
        measure = objective if ours else _by_default(quantity, networks)
        assert measure is not None
        found.append(Limit(key, measure, at_most * SCALES.get(key, 1.0)))
    if constraint.objective is not None and objective is None:
        raise UsageError(
            f"constraint.objective={constraint.objective:g} limits an objective, and there is none:"
            " type objective=table, latency, memory, params or flops too"
        )
    if constraint.objective is not None and objective is not None:
        found.append(Limit("constraint.objective", objective, constraint.objective))
    if constraint.measurements is not None and not any(one.measure.is_bought for one in found):
        raise UsageError(
            f"constraint.measurements={constraint.measurements} is of what is measured on a device,"
            " and nothing such is limited: type constraint.latency_ms too, or leave it out"
        )
    return found


def _by_default(quantity: str, networks: MeasuredNetworks) -> Measure:
    node = catalogue.content(GROUP, quantity, catalogue.conf_dir())
    measure: Measure = plugins.build(node, networks)
    return measure


def measures(
    objective: Measure | None, limits: Sequence[Limit]
) -> list[tuple[Measure, float | None]]:
    """List what is measured, each with its lowest limit, if it has one."""
    found = {id(one): one for one in (objective, *(limit.measure for limit in limits)) if one}
    return [
        (one, min((limit.at_most for limit in limits if limit.measure is one), default=None))
        for one in found.values()
    ]


def record(objective: Measure | None, limits: Sequence[Limit]) -> list[dict[str, Any]]:
    """Describe for `run.json` what is measured how, and what of it is limited."""
    return [
        {**asdict(measure.objective), "how": measure.how, "at_most": at_most}
        for measure, at_most in measures(objective, limits)
    ]


def costs_of(
    genotype: Genotype, objective: Measure | None, limits: LimitsOfRun
) -> tuple[Cost, ...]:
    """Return what the network of a result costs; what is limited was measured already."""
    known = limits.costs(genotype)
    return tuple(
        Cost(
            name=(name := measure.objective.name),
            unit=measure.objective.unit,
            value=known[name] if name in known else measure.measure(genotype),
            at_most=at_most,
            how=measure.how,
        )
        for measure, at_most in measures(objective, limits.limits)
    )


def hypervolume_of(
    front: Sequence[FrontMember], labels: Labels, objective: Measure | None, limits: Sequence[Limit]
) -> Hypervolume | None:
    """Compute how much a front dominates; `None` with one objective, or without moocore."""
    try:
        import moocore
    except ImportError:
        return None
    names = [one.name for one in labels.objectives]
    if len(names) < 2 or not front or not front[0].values:
        return None
    values_NM = np.array([[member.values[name] for name in names] for member in front])
    known = {
        one.objective.name: at_most or one.largest for one, at_most in measures(objective, limits)
    }
    usable = np.array([label.values for label in labels.ledger if label.error is None])
    most = [1.0, *usable[:, 1:].max(axis=0).tolist()]
    reference = {name: known.get(name) or own for name, own in zip(names, most, strict=True)}
    scaled_NM = values_NM / np.array([reference[name] or 1.0 for name in names])
    share = float(moocore.hypervolume(scaled_NM, ref=[1.0] * len(names)))
    return Hypervolume(value=share, reference=reference)

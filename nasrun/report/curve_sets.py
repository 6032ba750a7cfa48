"""Gather the curves of a plot: what is drawn in it, and what that is called.

A method on alphas keeps no best, so that its curve is not one of a best so far: it has plots of its
own beside methods that do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from nasrun.report import curves as curves_module
from nasrun.report import metrics
from nasrun.report.curves import AXES, Axis, Curve, History, Staircase
from nasrun.report.groups import Group


@dataclass(frozen=True)
class CurveSet:
    """One plot: a curve per group, of one dataset.

    Attributes:
        name: evaluations, seconds, steps; the latter with _alpha beside methods that keep a best;
            retraining, tau.
        are_errors: whether small values matter, so that a logarithmic scale shows them.
        are_regrets: whether 0 is the optimum of the table.
    """

    name: str
    dataset: str
    x_label: str
    y_label: str
    curves: Mapping[str, Curve]
    are_errors: bool = True
    are_regrets: bool = False

    @property
    def is_staircase(self) -> bool:
        return self.name != "tau" and not self.name.startswith("retraining")


Histories = Mapping[Path, History]


def all_of(groups: Sequence[Group], histories: Histories) -> Iterator[CurveSet]:
    """Yield the plots of the groups of one dataset."""
    keeping = [item for item in groups if _keeps_best(item, histories)]
    others = [item for item in groups if item not in keeping]
    yield from _searches(keeping, histories, ("evaluations", "seconds"))
    suffix = "_alpha" if keeping else ""
    yield from _searches(others, histories, ("seconds", "steps"), suffix)
    yield from _retrainings(groups, histories)
    yield from _tau_set(groups, histories)


def _keeps_best(item: Group, histories: Histories) -> bool:
    return any(histories[run.folder].keeps_best for run in item.runs)


def _searches(
    groups: Sequence[Group], histories: Histories, axes: Sequence[Axis], suffix: str = ""
) -> Iterator[CurveSet]:
    """Yield the plots of errors; of regrets where all runs of a plot know the optimum."""
    recorded = [histories[run.folder] for item in groups for run in item.runs]
    known = [history.optimum is not None for history in recorded if history.staircases]
    are_regrets = bool(known) and all(known)
    y_label = _label(groups, histories, are_regrets)
    for axis in axes:
        drawn = {}
        for item in groups:
            pairs = [
                (_error(history.staircases[axis], history, are_regrets), cluster)
                for history, cluster in _with_clusters(item, histories)
                if axis in history.staircases
            ]
            shared = item.clusters and [cluster for _, cluster in pairs]
            found = curves_module.curve([stairs for stairs, _ in pairs], axis, shared)
            if found is not None:
                drawn[item.name] = found
        if drawn:
            name = f"{axis}{suffix}"
            yield CurveSet(
                name, groups[0].dataset, AXES[axis], y_label, drawn, are_regrets=are_regrets
            )


def _with_clusters(item: Group, histories: Histories) -> Iterator[tuple[History, object]]:
    clusters = item.clusters or [None] * len(item.runs)
    there = [histories[run.folder] for run in item.runs]
    return zip(there, clusters, strict=True)


def _error(stairs: Staircase, history: History, are_regrets: bool) -> Staircase:
    return stairs.above(1.0 - history.optimum if are_regrets and history.optimum else 0.0)


def _label(groups: Sequence[Group], histories: Histories, are_regrets: bool) -> str:
    """Say what is drawn: a best so far only of methods that keep one."""
    others = {run.text("metric") for item in groups for run in item.runs} - {None}
    error = f"1 - {' or '.join(sorted(map(str, others)))}" if others else "validation error"
    if all(metrics.on_landscape(run) for item in groups for run in item.runs):
        error = "error on the table's landscape"
    if not any(_keeps_best(item, histories) for item in groups):
        return f"{error}, current alpha"
    return "best so far: regret" if are_regrets and not others else f"{error}, best so far"


def _retrainings(groups: Sequence[Group], histories: Histories) -> Iterator[CurveSet]:
    """Yield how networks learn from scratch: by validation errors where all runs have them."""
    there = {
        item.name: [history for run in item.runs if (history := histories[run.folder]).retraining]
        for item in groups
    }
    are_losses = {history.retraining_is_loss for found in there.values() for history in found}
    for is_loss in sorted(are_losses):
        drawn = {}
        for name, found in there.items():
            stairs = [one.retraining for one in found if one.retraining_is_loss == is_loss]
            curve = curves_module.curve([one for one in stairs if one is not None], "steps")
            if curve is not None and len(curve.x) > 1:
                drawn[name] = curve
        if drawn:
            suffix = "_loss" if is_loss and len(are_losses) > 1 else ""
            y_label = "training loss" if is_loss else "validation error"
            yield CurveSet(
                f"retraining{suffix}", groups[0].dataset, "epochs of retraining", y_label, drawn,
                are_errors=not is_loss,
            )  # fmt: skip


def _tau_set(groups: Sequence[Group], histories: Histories) -> Iterator[CurveSet]:
    """Yield how predictors rank architectures without a label, against the labels they had."""
    drawn = {}
    for item in groups:
        there = [len(histories[run.folder].tau_S) > 0 for run in item.runs]
        recorded = [histories[run.folder] for run in compress(item.runs, there)]
        if not recorded:
            continue
        common = sorted(set.intersection(*(set(one.labels_S.tolist()) for one in recorded)))
        if len(common) > 1:
            values = [dict(zip(one.labels_S, one.tau_S, strict=True)) for one in recorded]
            tau_NX = np.array([[of[x] for x in common] for of in values])
            shared = None if item.clusters is None else list(compress(item.clusters, there))
            drawn[item.name] = curves_module.mean_curve(np.array(common), tau_NX, shared)
    if drawn:
        y_label = "Kendall's tau, held out"
        yield CurveSet("tau", groups[0].dataset, "labels", y_label, drawn, are_errors=False)

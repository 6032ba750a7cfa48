"""Say what a careful reader of a report would ask about: what was pooled, what runs share."""

from __future__ import annotations

from collections.abc import Sequence

from nasrun.report import metrics, statistics
from nasrun.report.collect import Run, number, shown
from nasrun.report.groups import Group, Grouping, constant_seeds, text_of
from nasrun.report.metrics import Metric


def notes_of(grouping: Grouping, metric: Metric) -> list[str]:
    """List what a careful reader of a metric's figures would ask about."""
    about: dict[str, list[str]] = {}
    unreadable = []
    for item in grouping.groups:
        runs = item.runs
        unreadable += [f"{shown(run.folder)}: {note}" for run in runs for note in run.notes]
        commits = {str(run.record.get("commit")) for run in runs}
        remarks = {
            f"pooled over {', '.join(item.pooled)}": bool(item.pooled),
            f"from {len(commits)} versions of the code": len(commits) > 1,
            "made with code that was not committed": any(
                run.record.get("clean") is False for run in runs
            ),
            "some runs on a GPU, others not": len({run.on_gpu for run in runs}) > 1,
            _of_threads(runs): _of_threads(runs) != "",
            _of_clusters(item): item.shared_seeds is not None,
            _of_constant_seeds(runs): bool(constant_seeds(runs)),
            _of_signal(runs): _of_signal(runs) != "",
            _of_limits(runs): _of_limits(runs) != "",
        }
        for remark, applies in remarks.items():
            if applies:
                about.setdefault(remark, []).append(item.name)
    notes = [f"{_several(names)}: {remark}" for remark, names in about.items()]
    if metric.key == "search_val_accuracy":
        labelled = {
            bool(run.result.get("evaluations")) for item in grouping.groups for run in item.runs
        }
        if len(labelled) > 1:
            notes.append(
                "the validation accuracy of some is that of true evaluations, of others that of "
                "shared weights: they cannot be compared; retrain what they found"
            )
    notes += _of_knowledge(grouping.groups)
    notes += _of_cost([run for item in grouping.groups for run in item.runs])
    if not grouping.keys and [len(item.runs) for item in grouping.groups] == [1]:
        notes.append("one run is one draw: nothing can be said about the spread over seeds")
    return notes + unreadable


def _of_cost(runs: Sequence[Run]) -> list[str]:
    """Say what all searches have cost together, where there are several."""
    searches = [run for run in runs if run.text("strategy") is not None]
    if len(searches) < 2:
        return []

    def total(key: str) -> float:
        return sum(run.number(key) or 0.0 for run in searches)

    parts = [f"{total('search_seconds'):,.0f} s"]
    if total("scorings"):
        parts.append(f"{total('scorings'):,.0f} candidates scored")
    if total("evaluations"):
        parts.append(f"{total('evaluations'):,.0f} true evaluations")
    looked_up = [run for run in searches if metrics.labels_from_table(run)]
    hours = sum(run.number("label_seconds") or 0.0 for run in looked_up) / 3600
    if hours:
        parts.append(f"labels whose training took the makers of the table {hours:,.1f} h")
    return [f"cost of all {len(searches)} searches together: {', '.join(parts)}"]


def _of_knowledge(groups: Sequence[Group]) -> list[str]:
    """Say what each search knew before its first label, where they did not know the same."""
    by_knowledge: dict[str, list[str]] = {}
    for item in groups:
        by_knowledge.setdefault(item.knowledge, []).append(item.name)
    if len(by_knowledge) < 2:
        return []
    told = "; ".join(f"{_several(names)} knew {what}" for what, names in by_knowledge.items())
    return [
        f"before any label {told}: comparisons between them are marked, since what they show may "
        "be the knowledge and not the method"
    ]


def _of_threads(runs: Sequence[Run]) -> str:
    """Say where runs had other numbers of threads or processes, and so rounded in other ways."""
    texts = []
    for key in ("threads", "processes"):
        counts = [run.number(key) or number(run.record, key) for run in runs]
        known = sorted({int(count) for count in counts if count is not None})
        if len(known) > 1:
            texts.append(f"{' and '.join(map(str, known))} {key}")
    exact = all(run.record.get("precision") == "float64" for run in runs)
    if exact or not texts:
        return ""
    return (
        f"from runs with {', '.join(texts)}: in float32 the same seed gives another run with "
        "another number (precision=float64 rounds less)"
    )


def _of_clusters(item: Group) -> str:
    """Say which seeds runs share, and what that means for their figures."""
    shared = item.shared_seeds
    if shared is None:
        return ""
    keys = ", ".join(shared.keys)
    text = f"{len(item.runs)} runs share {shared.count} values of {keys}: intervals are by cluster"
    if shared.count < statistics.MIN_FOR_INTERVAL:
        text += f", and there is none of fewer than {statistics.MIN_FOR_INTERVAL}"
    return (
        f"{text}; p and effect are of the mean differences of the clusters, at least "
        f"{statistics.MIN_PAIRS} of them; std takes the runs for independent"
    )


def _of_constant_seeds(runs: Sequence[Run]) -> str:
    """Say which seeds all runs have in common, so that they say nothing of other ones."""
    same = ", ".join(f"{key}={text_of(value)}" for key, value in constant_seeds(runs).items())
    return f"all runs have {same}: nothing is said of other values"


def _of_signal(runs: Sequence[Run]) -> str:
    """Say which accuracy the searches have seen, where it is no validation accuracy."""
    signals = {metrics.signal(run) for run in runs} - {metrics.VALIDATION, metrics.SHARED}
    return f"what the search has seen is the {' or '.join(sorted(signals))}" if signals else ""


def _of_limits(runs: Sequence[Run]) -> str:
    """Say to what regrets are, where there are limits."""
    tables = [run.result.get("table") for run in runs]
    within = [isinstance(one, dict) and one.get("within_limits") is True for one in tables]
    if not any(within):
        return ""
    some = "" if all(within) else " in some runs, to the best of all in others"
    return f"the regret is that to the best within the limits{some}"


def _several(names: Sequence[str]) -> str:
    return f"{len(names)} groups" if len(names) > 3 else "; ".join(names)

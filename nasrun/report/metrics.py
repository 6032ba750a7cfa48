"""Define what a finished run can be judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nasrun.errors import UsageError, closest
from nasrun.report.collect import Run, number, shown

SECONDS_PER_DAY = 86_400.0
VALIDATION = "validation accuracy"
SHARED = "shared-weight validation accuracy"  # of mixtures in a supernet, not of trained networks


@dataclass(frozen=True)
class Metric:
    """A figure of a run; `of` gives it, a fraction where `percent` is true, or `None`."""

    key: str
    label: str
    of: Callable[[Run], float | None]
    higher_is_better: bool = True
    percent: bool = True
    decimals: int = 2  # shown where `percent` is true

    def best(self, values: Sequence[float]) -> float:
        return max(values) if self.higher_is_better else min(values)

    @property
    def unit(self) -> str:
        return f"{self.label}, %" if self.percent else self.label

    def show(self, value: float | None, *, signed: bool = False) -> str:
        """Write a value as a person reads it: percent, or four digits."""
        if value is None:
            return "-"
        sign = "+" if signed else ""
        if self.percent:
            return f"{100 * value:{sign}.{self.decimals}f}"
        return f"{value:{sign},.0f}" if abs(value) >= 10_000 else f"{value:{sign}.4g}"


def _test_accuracy(run: Run) -> float | None:
    """Return the accuracy of the retrained network; else what the benchmark table says."""
    retrained = run.number("retrain", "test_accuracy")
    return run.number("table", "test_accuracy") if retrained is None else retrained


def signal(run: Run) -> str:
    """Return what the accuracy of a search is: what its table declares, or what else."""
    if isinstance(run.result.get("surrogate"), dict):
        labelled = run.result.get("evaluations")
        return "share of cells below" if labelled else "accuracy on a surrogate's landscape"
    table = run.result.get("table")
    if not isinstance(table, dict) or table.get("regret") is None:
        has_one = run.number("search_val_accuracy") is not None
        return SHARED if has_one and not run.result.get("evaluations") else VALIDATION
    if on_landscape(run):
        return "accuracy on the table's landscape"
    if not run.result.get("evaluations"):
        return SHARED  # the table has but the result
    declared = table.get("signal")
    return shown(declared) if isinstance(declared, str) and declared else VALIDATION


def on_landscape(run: Run) -> bool:
    """Return whether mixtures were scored on a table's landscape, where nothing is trained."""
    table = run.result.get("table")
    if not isinstance(table, dict):
        return False
    by_table = str(run.config.get("evaluator._target_", "")).endswith(".TableEvaluator")
    # earlier versions did not say
    return table.get("landscape") is True or (by_table and not run.result.get("evaluations"))


def _quantity(run: Run) -> str:
    """Return what the test accuracy of a run is: a table may have the scores of something else."""
    table = run.result.get("table")
    values = table.get("values") if isinstance(table, dict) else None
    quantity = values.get("quantity") if isinstance(values, dict) else None
    retrained = run.number("retrain", "test_accuracy") is not None
    if retrained or not isinstance(values, dict) or not isinstance(quantity, str):
        return "test accuracy"
    part = "validation" if values.get("judged_by") == "validation" else "test"
    if quantity == "accuracy":
        return f"{part} accuracy"
    return f"{part} score of {shown(quantity).replace('_', ' ')}"


def of_each_signal(runs: Sequence[Run]) -> list[Metric]:
    """Return the accuracy of a search once for each of those that the searches have seen."""
    accuracy = METRICS["search_val_accuracy"]
    seen = sorted({signal(run) for run in runs if accuracy.of(run) is not None})

    def only(name: str) -> Callable[[Run], float | None]:
        return lambda run: accuracy.of(run) if signal(run) == name else None

    labels = {name: f"search {name.partition(' (')[0]}" for name in seen}
    return [replace(accuracy, label=label, of=only(name)) for name, label in labels.items()]


def of_signal(metric: Metric, runs: Sequence[Run]) -> Metric:
    """Return the metric with a label that says which accuracy the searches have seen.

    Where a table has another quantity than accuracies, the label says whose scores they are.
    """
    if metric.key == "test_accuracy":
        names = sorted({_quantity(run) for run in runs if metric.of(run) is not None})
        return replace(metric, label=" or ".join(names)) if names else metric
    if metric.key != "search_val_accuracy":
        return metric
    signals = sorted({signal(run) for run in runs if metric.of(run) is not None})
    names = [name.partition(" (")[0] for name in signals or [VALIDATION]]
    return replace(metric, label=f"search {' or '.join(names)}")


def search_days(run: Run) -> float | None:
    """Return what the search cost, in days.

    On a table that includes what the labels cost its makers: their trainings.
    """
    seconds = run.number("search_seconds")
    if seconds is None:
        return None
    labels = run.number("label_seconds") if labels_from_table(run) else None
    return (seconds + (labels or 0.0)) / SECONDS_PER_DAY


def labels_from_table(run: Run) -> bool:
    """Return whether labels were looked up whose training others have paid for."""
    looked_up = run.number("table", "regret") is not None
    return looked_up and (run.number("label_seconds") or 0.0) > 0


def gpu_days(run: Run) -> float | None:
    """Return the days of the search, where it ran on a GPU."""
    seconds = run.number("search_seconds")
    return seconds / SECONDS_PER_DAY if run.on_gpu and seconds is not None else None


def _scorings(run: Run) -> float | None:
    """Return how many candidates were scored, or gradients computed; `None` for none."""
    return run.number("scorings") or None


def _above_all_conv(run: Run) -> float | None:
    """Return how far a surrogate places the cell above that of convolutions alone."""
    value, control = run.number("surrogate", "value"), run.number("surrogate", "control", "value")
    return None if value is None or control is None else value - control


def of_result(*keys: str) -> Callable[[Run], float | None]:
    return lambda run: run.number(*keys)


METRICS = {
    metric.key: metric
    for metric in (
        Metric("test_accuracy", "test accuracy", _test_accuracy),
        Metric("search_val_accuracy", "search validation accuracy",
               of_result("search_val_accuracy")),
        Metric("chosen_val_accuracy", "validation accuracy of the chosen direction",
               of_result("chosen_val_accuracy")),
        Metric("regret", "regret", of_result("table", "regret"), False, decimals=3),
        Metric("percentile", "percentile", of_result("table", "percentile"), percent=False),
        Metric("val_accuracy", "validation accuracy after retraining",
               of_result("retrain", "val_accuracy")),
        Metric("macro_f1", "macro F1", of_result("retrain", "macro_f1")),
        Metric("balanced_accuracy", "balanced accuracy", of_result("retrain", "balanced_accuracy")),
        Metric("search_val_score", "what the search maximised, validation",
               of_result("search_val_score")),
        Metric("params", "parameters", of_result("retrain", "params"), False, False),
        Metric("flops", "multiply-adds", of_result("retrain", "flops"), False, False),
        Metric("surrogate_value", "value by a surrogate, normal score",
               of_result("surrogate", "value"), percent=False),
        Metric("above_all_conv", "value by a surrogate, above convolutions on all edges",
               _above_all_conv, percent=False),
        Metric("hypervolume", "hypervolume", of_result("hypervolume", "value"), percent=False),
        Metric("measurements", "measurements", of_result("measurements"), False, False),
        Metric("evaluations", "true evaluations", of_result("evaluations"), False, False),
        Metric("label_epochs", "epochs of training", of_result("label_epochs"), False, False),
        Metric("scorings", "candidates scored", _scorings, False, False),
        Metric("search_seconds", "search, s", of_result("search_seconds"), False, False),
        Metric("gpu_days", "GPU-days", gpu_days, False, False),
        Metric("held_out_tau", "Kendall's tau, held out", of_result("predictor", "held_out_tau"),
               percent=False),
        Metric("infill_tau", "Kendall's tau, bought", of_result("predictor", "infill_tau"),
               percent=False),
    )
}  # fmt: skip
BY_DEFAULT = ("test_accuracy", "above_all_conv", "search_val_accuracy")
OF_CLASSES = {
    "sensitivity": "sensitivity",
    "positive_predictivity": "positive predictivity",
}
"""Figures of one class, `sensitivity:NAME`, and what they are called."""


def of_class(name: str) -> Metric | None:
    """Return the metric of one class that a name such as `sensitivity:V` means."""
    figure, colon, wanted = name.partition(":")
    if not colon or figure not in OF_CLASSES:
        return None

    def value(run: Run) -> float | None:
        retrain = run.result.get("retrain")
        classes = retrain.get("classes") if isinstance(retrain, dict) else None
        for one in classes if isinstance(classes, list) else ():
            if isinstance(one, dict) and one.get("name") == wanted:
                return number(one, figure)
        return None

    return Metric(name, f"{OF_CLASSES[figure]} of {shown(wanted)}", value)


def choose(name: str | None, runs: Sequence[Run]) -> Metric:
    """Return the metric called `name`; else the test accuracy where any run has one.

    One metric for all: a test accuracy and a validation accuracy are never in one column.

    Raises:
        UsageError: the name is unknown, or no run has such a figure.
    """
    known = METRICS
    if name is not None and (own := of_class(name)) is not None:
        known = {**METRICS, name: own}
    if name is not None and name not in known:
        raise UsageError(f"--metric {name}: {closest(name, METRICS)}")
    wanted = BY_DEFAULT if name is None else (name,)
    for key in wanted:
        if any(known[key].of(run) is not None for run in runs):
            return known[key]
    if name is None or not runs:
        return known[wanted[0]]  # every run will be listed as lacking it
    there = [key for key, metric in METRICS.items() if any(metric.of(r) is not None for r in runs)]
    raise UsageError(f"--metric {name}: no finished run has it; there are {', '.join(there)}")

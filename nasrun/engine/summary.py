"""Tell a person at the end of a run what was found, how good it is, where it is, what next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nasrun.config.matching import has_networks
from nasrun.pictures import cell_text
from nasrun.protocols.result import (
    AgainstFloors,
    FrontMember,
    Ranked,
    Result,
    Retrained,
    SurrogateEntry,
    TableEntry,
)
from nasrun.terminal.text import command, wrapped

KNOWN = {"size": "the size of networks", "zero_cost": "scores of untrained networks"}


def summary(folder: Path, result: Result, width: int | None = None) -> str:
    """Return the end of a run as text.

    Args:
        width: columns, within which sentences are wrapped; commands are left for the clipboard.
    """
    rows = [*_search(result), *_costs(result), *_front(result.front)]
    rows += _predictor(result.predictor)
    rows += _floor(result.floor)
    rows += [*_table(result.table), *_surrogate(result.surrogate), *_one_shot(result)]
    rows += [*_retrain(result.retrain), *_warnings(result.warnings)]
    lines = [wrapped(_line(*row), width, LABEL + 1) for row in rows]
    lines += [_line(*row) for row in _where_next(folder, result)]
    table = "\n".join(lines)
    return f"\n{cell_text.text(result.genotype)}\n\n{table}"


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL}} {text}".rstrip()


def _search(result: Result) -> Iterator[tuple[str, str]]:
    if result.strategy is None:
        return
    table = result.table
    parts = [f"{result.search_seconds:.1f} s"]
    if result.scorings:
        on_table = table is not None and table.landscape
        scored_on = "the landscape of the table" if on_table else "shared weights"
        scored_on = scored_on if result.surrogate is None else "the landscape of a surrogate"
        parts.append(f"{result.scorings:,} candidates scored on {scored_on}")
    if result.evaluations:
        parts.append(f"{result.evaluations:,} true evaluations")
    if result.label_epochs is not None:  # some were stopped early
        parts.append(f"{result.label_epochs:,} epochs of training")
    if table is not None and result.label_seconds:  # others are part of the search
        parts.append(f"that took {result.label_seconds / 3600:.1f} h to train")
    if result.search_val_accuracy is not None:
        signal = "validation accuracy" if table is None else table.signal
        if table is not None and result.scorings:
            signal = "accuracy there"
        if result.surrogate is not None:
            signal = "accuracy there" if result.scorings else "share of trained cells below"
        parts.append(f"{signal} {result.search_val_accuracy:.2%}")
    if result.knowledge:
        known = " and ".join(KNOWN.get(name, name) for name in result.knowledge)
        how = "" if result.knowledge_how is None else f" ({result.knowledge_how})"
        parts.append(f"knew {known} before{how}")
    if result.metric is not None and result.search_val_score is not None:
        parts.append(f"{result.metric.replace('_', ' ')} {result.search_val_score:.4f}")
    yield "search", ", ".join(parts)


def _costs(result: Result) -> Iterator[tuple[str, str]]:
    """One row per cost, with its limit."""
    for place, cost in enumerate(result.costs or ()):
        limit = "" if cost.at_most is None else f" of at most {cost.at_most:,.6g}"
        text = f"{cost.name} {cost.value:,.6g}{limit} {cost.unit}, {cost.how}"
        yield "cost" if place == 0 else "", text
    if result.measurements is not None:
        yield "", f"{result.measurements:,} architectures measured, the others predicted"
    if result.hypervolume is not None:
        yield "dominated", f"{result.hypervolume.value:.4f} of the box (hypervolume of the front)"


LABEL = 10  # characters of the first column
MOST_CLASSES = 6  # whose figures fit onto a line; those of others are in result.json
MOST_SHOWN = 10  # members of a front; all are in result.json


def _front(front: Sequence[FrontMember] | None) -> Iterator[tuple[str, str]]:
    """One row per member, in the order of `front.json`; the first is the chosen one."""
    for place, member in enumerate((front or ())[:MOST_SHOWN], start=1):
        values = ", ".join(f"{name} {shown(value)}" for name, value in member.values.items())
        chosen = " (chosen)" if place == 1 else ""
        yield "front" if place == 1 else "", f"{place}: {values}{chosen}"
    if front is not None and len(front) > MOST_SHOWN:
        yield "", f"and {len(front) - MOST_SHOWN} more in result.json"


def shown(value: float) -> str:
    """Write a fraction and a small number with four digits, and a count with commas."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value >= 1 else f"{value:.4f}"


def _predictor(ranked: Ranked | None) -> Iterator[tuple[str, str]]:
    if ranked is None:
        return
    taus = {
        "on architectures without a label": ranked.held_out_tau,
        "on those it chose": ranked.infill_tau,
    }
    found = [f"{tau:.3f} {where}" for where, tau in taus.items() if tau is not None]
    yield "predictor", f"Kendall's tau {', '.join(found)}"


def _floor(floor: AgainstFloors | None) -> Iterator[tuple[str, str]]:
    if floor is None:
        return
    beaten = "yes" if floor.beaten else "no"
    figures = ", ".join(f"{name} {value:.2%}" for name, value in floor.strategies.items())
    yield "floor", f"beaten: {beaten}, by {100 * floor.by:+.2f} points ({figures})"


def _table(table: TableEntry | None) -> Iterator[tuple[str, str]]:
    if table is None:
        return
    values, figure = table.values, f"accuracy {table.test_accuracy:.2%}"
    label = "test" if values is None else values.judged_by
    if values is not None and values.quantity != "accuracy":
        name = values.quantity.replace("_", " ")
        figure = f"{name} {values.test:.6g} {values.unit}"
        if (values.worst, values.best) != (0.0, 1.0):
            figure += f", a score of {table.test_accuracy:.2%}"
    if values is not None and values.isomorphic != "own":
        figure += " (mean of the cells that compute the same)"
    yield label, f"{figure}, percentile {table.percentile:.1f}"
    within = " within the limits" if table.within_limits else ""
    yield "regret", f"{table.regret:.2%} of the signal, to the best cell of the table{within}"
    known = [one for one in (table.control, *table.references) if one is not None]
    for place, one in enumerate(known):
        figures = f"{one.test_accuracy:.2%}, percentile {one.percentile:.1f}"
        yield "" if place else "control", f"{one.name} has {figures}"


def _surrogate(surrogate: SurrogateEntry | None) -> Iterator[tuple[str, str]]:
    if surrogate is None:
        return
    said = f"value {surrogate.value:+.3f}, percentile {surrogate.percentile:.1f} of random cells"
    yield "surrogate", f"{said}, by {surrogate.family.replace('_', ' ')}"
    yield "", "(normal score among the trained cells; no accuracy of a trained network)"
    others = (f"{value:+.3f} by {name}" for name, value in surrogate.above_control.items())
    yield "", f"above {surrogate.control.name}: {', '.join(others)}"
    yield "control", f"random cells have {surrogate.random:+.3f} on average"
    for one in (surrogate.control, *surrogate.references):
        yield "", f"{one.name} has {one.value:+.3f}, percentile {one.percentile:.1f}"


def _one_shot(result: Result) -> Iterator[tuple[str, str]]:
    one_shot = result.one_shot
    if one_shot is None:
        return
    taus = {"loss": one_shot.loss_tau, "accuracy": one_shot.accuracy_tau}
    found = [f"{tau:.3f} by {key}" for key, tau in taus.items() if tau is not None]
    if found:
        true = "the table's test accuracy" if result.surrogate is None else "the surrogate's value"
        yield "one-shot", f"Kendall's tau with {true}: {', '.join(found)}"


def _warnings(warnings: Sequence[str]) -> Iterator[tuple[str, str]]:
    for warning in warnings:
        yield "warning", warning


def _retrain(retrain: Retrained | None) -> Iterator[tuple[str, str]]:
    if retrain is None:
        return
    yield "retrained", f"{retrain.epochs} epochs from scratch, {retrain.seconds:.1f} s"
    test = f"accuracy {retrain.test_accuracy:.2%}"
    if retrain.test_top5_accuracy is not None:
        test += f", top five {retrain.test_top5_accuracy:.2%}"
    yield "test", f"{test}, macro F1 {retrain.macro_f1:.4f}"
    if 0 < len(retrain.classes) <= MOST_CLASSES:
        figures = (
            f"{one.name} {one.sensitivity:.1%} / {one.positive_predictivity:.1%}"
            for one in retrain.classes
        )
        yield "classes", f"sensitivity / positive predictivity: {', '.join(figures)}"
    yield "size", f"{retrain.params:,} parameters, {retrain.flops:,} multiply-adds"


def _where_next(folder: Path, result: Result) -> Iterator[tuple[str, str]]:
    yield "folder", str(folder)
    yield "next", command("nasrun", "show", folder)
    trainable = has_networks(result.space)
    if trainable:
        yield "", f"{command('nasrun', 'retrain', f'genotype={folder}')} retrain.epochs=100"
    if result.front is not None and trainable:
        another = command("nasrun", "retrain", f"genotype={folder}:2")
        yield "", f"{another} retrain.epochs=100"
    yield "", command("nasrun", "report", folder)
    yield "", command("tensorboard", "--logdir", folder)
    if result.strategy is not None:
        yield "again", command("nasrun", "search", "--from", folder, f"seed={result.seed + 1}")
    if result.strategy is not None and result.retrain is not None:
        control = f"nasrun retrain genotype=random space={result.space} seed={result.seed}"
        yield "control", f"{control}  (a random cell, trained alike)"

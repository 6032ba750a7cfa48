"""What a person is told at the end of a run: what was found, how good it is, where, what next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasrun.genotypes.genotype import Genotype
from nasrun.pictures import cell_text


def summary(folder: Path, result: Mapping[str, Any]) -> str:
    """The end of a run as text, from the contents of its `result.json`."""
    rows = [*_search(result), *_predictor(result.get("predictor")), *_floor(result.get("floor"))]
    rows += [*_table(result.get("table")), *_one_shot(result.get("one_shot"))]
    rows += [*_retrain(result.get("retrain")), *_warnings(result.get("warnings", ()))]
    rows += _where_next(folder, result)
    table = "\n".join(f"{name:<10} {text}".rstrip() for name, text in rows)
    return f"\n{cell_text.text(Genotype.from_json(result['genotype']))}\n\n{table}"


def _search(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if result["strategy"] is None:
        return
    parts = [f"{result['search_seconds']:.1f} s"]
    table = result.get("table") or {}
    if result["scorings"]:
        scored_on = "the landscape of the table" if table.get("landscape") else "shared weights"
        parts.append(f"{result['scorings']:,} candidates scored on {scored_on}")
    if result["evaluations"]:
        parts.append(f"{result['evaluations']:,} true evaluations")
    if result.get("table") and result.get("label_seconds"):  # others are part of the search
        parts.append(f"that took {result['label_seconds'] / 3600:.1f} h to train")
    if result["search_val_accuracy"] is not None:
        signal = table.get("signal", "validation accuracy")
        if table and result["scorings"]:
            signal = "accuracy there"
        parts.append(f"{signal} {result['search_val_accuracy']:.2%}")
    yield "search", ", ".join(parts)


def _predictor(predictor: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    predictor = predictor or {}
    wheres = {"held_out_tau": "on architectures without a label", "infill_tau": "on those it chose"}
    found = [f"{predictor[key]:.3f} {where}" for key, where in wheres.items() if key in predictor]
    if found:
        yield "predictor", f"Kendall's tau {', '.join(found)}"


def _floor(floor: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if floor is None:
        return
    beaten = "yes" if floor["beaten"] else "no"
    figures = ", ".join(f"{name} {value:.2%}" for name, value in floor["strategies"].items())
    yield "floor", f"beaten: {beaten}, by {100 * floor['by']:+.2f} points ({figures})"


def _table(table: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if table is None:
        return
    yield "test", f"accuracy {table['test_accuracy']:.2%}, percentile {table['percentile']:.1f}"
    yield "regret", f"{table['regret']:.2%} of the signal, to the best cell of the table"
    if table.get("control") is not None:
        control = table["control"]
        figures = f"{control['test_accuracy']:.2%}, percentile {control['percentile']:.1f}"
        yield "control", f"{control['name']} has {figures}"


def _one_shot(one_shot: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    taus = [(key, one_shot.get(f"{key}_tau")) for key in ("loss", "accuracy")] if one_shot else []
    found = [f"{tau:.3f} by {key}" for key, tau in taus if tau is not None]
    if found:
        yield "one-shot", f"Kendall's tau with the table's test accuracy: {', '.join(found)}"


def _warnings(warnings: Sequence[str]) -> Iterator[tuple[str, str]]:
    for warning in warnings:
        yield "warning", warning


def _retrain(retrain: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if retrain is None:
        return
    yield "retrained", f"{retrain['epochs']} epochs from scratch, {retrain['seconds']:.1f} s"
    test = f"accuracy {retrain['test_accuracy']:.2%}"
    if retrain.get("test_top5_accuracy") is not None:
        test += f", top five {retrain['test_top5_accuracy']:.2%}"
    yield "test", f"{test}, macro F1 {retrain['macro_f1']:.4f}"
    yield "size", f"{retrain['params']:,} parameters, {retrain['flops']:,} multiply-adds"


def _where_next(folder: Path, result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "folder", str(folder)
    yield "next", f"nasrun show {folder}"
    yield "", f"nasrun retrain genotype={folder} retrain=..."
    yield "", f"nasrun report {folder}"
    yield "", f"tensorboard --logdir {folder}"
    if result["strategy"] is not None:
        yield "again", f"nasrun search --from {folder} seed={result['seed'] + 1}"
    if result["strategy"] is not None and result["retrain"] is not None:
        control = f"nasrun retrain genotype=random space={result['space']} seed={result['seed']}"
        yield "control", f"{control}  (a random cell, trained alike)"

"""Notice signs that a search over alphas goes wrong, and say them in words.

What the numbers of a step mean is said where the step makes them; a search that does not report one
is not judged by it. Shapes: E edges, O operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from nasrun.genotypes.genotype import Cell, Genotype
from nasrun.protocols.evaluation import StepReport

DOMINANT_SHARE = 0.5  # of the edges of a cell; DARTS's own published cells have up to 3 of 8 skips
LEAST_WEIGHTS_STEP = 0.001  # mean total variation of an edge's mixing weights in a step
LEAST_TAU = 0.2  # of fitness and loss
STEPS_TO_JUDGE = 3  # the last ones; a single step may be unlucky. A collapse is told at once
MEANINGS = {"skip": "skip connections", "none": "none"}  # what a cell can collapse into
JUDGED = ("weights_step", "picked_gain", "loss_signal", "fitness_loss_tau", "fitness_spread")


@dataclass
class Guard:
    """Say each kind of warning once in a run. Its fields are part of the checkpoint."""

    said: dict[str, str] = field(default_factory=dict)  # kind -> sentence
    recent: dict[str, list[float]] = field(default_factory=dict)  # of each metric, the last values

    def note_parts(self, before: Mapping[str, int], parts: Mapping[str, int]) -> list[str]:
        """Say what is divided into more parts, because memory ran out: load -> number of parts."""
        changed = {load: count for load, count in parts.items() if before.get(load, 1) != count}
        new = {
            f"parts of {load}": f"memory ran out: the {load} goes on in {count} parts of a batch; "
            "the statistics of batch norm are those of the parts"
            for load, count in changed.items()
        }
        self.said.update(new)
        return list(new.values())

    def look_at(
        self,
        report: StepReport,
        operations: Sequence[str],
        remedies: Mapping[str, str] = MappingProxyType({}),
        when: str = "",
    ) -> list[str]:
        """Return new warnings, one sentence each.

        Args:
            operations: the columns of the mixing weights.
            remedies: the strategy's own, see `Strategy.remedies`, so that nobody is told to raise a
                setting of another method.
            when: names the step.
        """
        if "weights_step" not in report.metrics:
            return []  # alpha rests: a warm-up, or a search of another kind
        for name in JUDGED:
            if math.isfinite(report.metrics.get(name, math.nan)):
                values = [*self.recent.get(name, ()), report.metrics[name]]
                self.recent[name] = values[-STEPS_TO_JUDGE:]
        found = dict(_dominant(report, operations))
        enough = {k: v for k, v in self.recent.items() if len(v) == STEPS_TO_JUDGE}
        found |= dict(_judgements(enough))
        place = f" ({when})" if when else ""
        new = {}
        for (kind, symptom), text in found.items():
            if kind not in self.said:
                advice = f"; {remedies[symptom]}" if symptom in remedies else ""
                new[kind] = f"{text}{place}{advice}"
        self.said.update(new)
        return list(new.values())

    def in_the_end(self, genotype: Genotype, operations: Sequence[str]) -> tuple[str, ...]:
        """Return all that was said; of a collapse also whether the result is without it."""
        passed = {
            f"{kind} {cell.name}": f"; the result is without it: {count} of {total} edges"
            for cell in genotype.cells
            for kind in MEANINGS
            for count, total in [_counted(kind, _chosen(cell, operations))]
            if not _is_collapse(count, total)
        }
        return tuple(text + passed.get(kind, "") for kind, text in self.said.items())


Sign = tuple[tuple[str, str], str]
"""The kind of a warning, which is said once; its symptom, which has a remedy; the sentence."""


def _judgements(recent: Mapping[str, Sequence[float]]) -> Iterator[Sign]:
    """Judge the metrics of the last steps, on average."""
    means = {name: sum(values) / len(values) for name, values in recent.items()}
    step = means.get("weights_step", 1.0)
    if step < LEAST_WEIGHTS_STEP:
        yield (
            ("rest", "rest"),
            f"alpha hardly moves: a step changes the mixing weights of an edge by {step:.2g} "
            f"(below {LEAST_WEIGHTS_STEP})",
        )
    gain = means.get("picked_gain", 0.0)
    if max(recent.get("picked_gain", (0.0,))) < 0:  # in each step: a mean is below 0 by chance too
        yield (
            ("worse", "worse"),
            f"the candidates that the fitness picks are worse than alpha: their loss is "
            f"{-gain:.3g} higher on average",
        )
    signal = means.get("loss_signal", 1.0)
    if signal < 1:
        yield (
            ("noise", "noise"),
            f"the losses of the candidates differ by {signal:.2g} times their noise: the choice "
            "among them is mostly chance",
        )
    if means.get("fitness_spread", 1.0) == 0:
        yield (
            ("flat", "flat"),
            "the fitness is the same for all candidates: the choice among them is chance",
        )
    elif (tau := means.get("fitness_loss_tau", 1.0)) < LEAST_TAU:  # of a flat one it says nothing
        yield (
            ("tau", "tau"),
            f"the loss hardly decides the fitness (Kendall's tau {tau:.2f} on average), the "
            "similarity does",
        )


def _dominant(report: StepReport, operations: Sequence[str]) -> Iterator[Sign]:
    """Yield where more than half of a cell's edges are skip connections, or are none."""
    incumbent = report.incumbent
    for cell_type, weights_EO in (report.weights or {}).items():
        strongest = [operations[i] for i in weights_EO.argmax(dim=1).tolist()]
        yield from _collapse(cell_type, f"in alpha of the {_called(cell_type)}", strongest)
    for cell in incumbent.cells if incumbent is not None else ():
        where = f"of the derived {_called(cell.name)}"
        yield from _collapse(cell.name, where, _chosen(cell, operations))


def _chosen(cell: Cell, operations: Sequence[str]) -> list[str]:
    return [edge.operation for edge in cell.edges if edge.operation in operations]


def _called(cell: str) -> str:
    """Return what a type of cell is called in a sentence; where there is one it is just `cell`."""
    return cell if cell == "cell" else f"{cell} cell"


def _collapse(cell: str, where: str, names: Sequence[str]) -> Iterator[Sign]:
    for kind, meaning in MEANINGS.items():
        count, total = _counted(kind, names)
        if _is_collapse(count, total):
            yield (
                (f"{kind} {cell}", "collapse"),
                f"collapse into {kind}: {count} of {total} edges {where} are {meaning}",
            )


def _counted(kind: str, names: Sequence[str]) -> tuple[int, int]:
    return sum(name.startswith(kind) for name in names), len(names)


def _is_collapse(count: int, total: int) -> bool:
    return count > DOMINANT_SHARE * total  # of no edges none


def count_operations(genotype: Genotype) -> Mapping[str, float]:
    """Count signs of collapse: how many edges are skip connections, and how many are none."""
    operations = [edge.operation for cell in genotype.cells for edge in cell.edges]
    return {
        "num_skip_edges": float(sum(name.startswith("skip") for name in operations)),
        "num_none_edges": float(sum(name == "none" for name in operations)),
    }

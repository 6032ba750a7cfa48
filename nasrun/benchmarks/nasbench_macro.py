"""Read the table of NAS-Bench-Macro: test accuracy on CIFAR-10 after 50 epochs, three trainings.

X. Su et al., CVPR 2021, arXiv 2103.11922. The official file is JSON: eight digits -> test_acc (of
each training, percent), params, flops and more that follows from them. There is no validation
column. Networks that compute the same have been trained once and stand in the file with the same
figures. Shapes: R rows, N = 8 blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nasrun.benchmarks.benchmark import Benchmark, Layout
from nasrun.benchmarks.checks import Check, Cost, costs
from nasrun.benchmarks.table import Arrays, Columns, Table, span
from nasrun.errors import UsageError, brief
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.nasbench_macro import (
    NUM_BLOCKS,
    OPERATIONS,
    digits_of,
    nasbench_macro_genotype,
    nasbench_macro_text,
    parse,
)
from nasrun.protocols.data import TaskShape
from nasrun.protocols.space import NetworkSize
from nasrun.protocols.state import Progress
from nasrun.spaces.nasbench_macro import NasBenchMacro

SHAPE = TaskShape(3, (32, 32), 10)
NUM_CLASSES = 3_969  # of networks that compute the same: 9 x 21 x 21, by the rule of the space
MAX_BYTES = 2**26  # of a JSON file; the official one has 1.2 MB
POWERS_N = len(OPERATIONS) ** np.arange(NUM_BLOCKS)


class NasBenchMacroTable(Table):
    """Test accuracy of all networks, means of three trainings."""

    space = "nasbench_macro"
    num_rows = 6_561
    has_copies = True
    required = ("blocks", "cifar10_test_50")
    numbers: ClassVar[Mapping[str, float]] = {
        "cifar10_test_50": 100.0,
        "num_trainings": np.inf,
        "params": np.inf,
        "flops": np.inf,
    }
    shapes: ClassVar[Mapping[str, TaskShape]] = {"cifar10": SHAPE}
    offers = ("cifar10",)
    size = NetworkSize(channels=32)

    def problems(self, arrays: Arrays) -> Iterator[str]:
        blocks_RN = arrays["blocks"]
        if blocks_RN.shape != (self.num_rows, NUM_BLOCKS) or blocks_RN.dtype.kind not in "iu":
            yield (
                f"blocks must be whole numbers of the shape ({self.num_rows}, {NUM_BLOCKS}), not "
                f"{blocks_RN.dtype} of {blocks_RN.shape}"
            )
        elif blocks_RN.min() < 0 or blocks_RN.max() > 2:
            yield f"blocks must be 0 to 2, not {blocks_RN.min()} to {blocks_RN.max()}"
        else:
            num_doubles = self.num_rows - len(np.unique(blocks_RN.astype(np.int64) @ POWERS_N))
            if num_doubles:
                yield f"{num_doubles} of the {self.num_rows} networks are there twice"

    def read_columns(self, arrays: Arrays) -> dict[str, Columns]:
        self._blocks_RN = arrays["blocks"]
        self._row_of = np.empty(self.num_rows, dtype=np.int64)
        self._row_of[self._blocks_RN.astype(np.int64) @ POWERS_N] = np.arange(self.num_rows)
        count_R = arrays.get("num_trainings")
        trainings = None if count_R is None else span(count_R)
        return {
            "cifar10": Columns(None, arrays["cifar10_test_50"] / 100.0, None, trainings=trainings)
        }

    def row(self, genotype: Genotype) -> int:
        if genotype.space != self.space:
            raise self._absent(genotype)
        return int(self._row_of[np.array(digits_of(genotype)) @ POWERS_N])

    def genotype(self, row: int) -> Genotype:
        return nasbench_macro_genotype(self._blocks_RN[row].tolist())

    def control(self) -> tuple[str, Genotype]:
        """Return the largest network."""
        return "mb6_k5 at all places", nasbench_macro_genotype([2] * NUM_BLOCKS)

    def text(self, row: int) -> str:
        return nasbench_macro_text(self.genotype(row))


def _read_official(path: Path, progress: Progress) -> Arrays:
    """Read the JSON file of the authors.

    Raises:
        UsageError: it is none, or names the network that is not understood.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes: it is another file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON file: {brief(str(error))}") from None
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} is no file of NAS-Bench-Macro: an object, network -> figures")
    cells, rows = list[Genotype](), list[dict[str, float]]()
    for text, figures in content.items():
        try:
            cells.append(parse(text))
            rows.append(_figures(figures))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        except (TypeError, LookupError, ValueError) as error:
            raise UsageError(
                f"{path}: the network {brief(text)} must have test_acc, a list of percents, params "
                f"and flops ({brief(repr(error))})"
            ) from None
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return _condense(cells, columns, progress)


def _figures(figures: Any) -> dict[str, float]:
    accuracies = [float(one) for one in figures["test_acc"]]
    return {
        "cifar10_test_50": sum(accuracies) / len(accuracies) if accuracies else float("nan"),
        "num_trainings": len(accuracies),
        "params": int(figures["params"]),
        "flops": int(figures["flops"]),
    }


def _parse_words(words: Sequence[str]) -> Genotype:
    return parse(words[0])


def _condense(cells: list[Genotype], columns: dict[str, np.ndarray], _: Progress) -> Arrays:
    blocks_RN = np.array([digits_of(one) for one in cells], dtype=np.uint8)
    return {"blocks": blocks_RN, **columns}


class NasBenchMacroBenchmark(Benchmark):
    """What is known of NAS-Bench-Macro, and its files."""

    table = NasBenchMacroTable
    readers = {".json": _read_official}  # noqa: RUF012 - as the base class has it
    layout = Layout(
        (("arch",),), NasBenchMacroTable.numbers, ("cifar10_test_50",), _parse_words, _condense
    )

    def checks(self, table: Table, arrays: Arrays, progress: Progress) -> Iterator[Check]:
        """Check also the sizes, and that networks which compute the same have the same figures."""
        yield from super().checks(table, arrays, progress)
        space = NasBenchMacro(channels=32)
        yield from costs(table, arrays, space, {"params": Cost(SHAPE, 0), "flops": Cost(SHAPE, 1)})
        classes_R, accuracy_R = table.classes(space.canonical), arrays["cifar10_test_50"]
        num_classes = len(np.unique(classes_R))
        differing = num_classes != len(np.unique(np.stack([classes_R, accuracy_R], 1), axis=0))
        figures = f"{num_classes:,}, by the rule {NUM_CLASSES:,}"
        figures += "; some differ within a class" if differing else "; alike within each"
        yield Check("isomorphism classes", num_classes == NUM_CLASSES and not differing, figures)

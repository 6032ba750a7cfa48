"""Search under limits drawn at random, and look in the table whether any result breaks one.

    python -m tests.long.limits --searches 1000

Each search draws its strategy, its device, how tight the limit is, a limit on parameters or none,
and whether latencies are known or predicted from ten. A result is judged by the arrays of the
hardware table itself, not by what the program says of it. Needs NASRUN_DATA. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nasrun.config.compose import to_typed
from nasrun.config.schema import ConstraintConfig, SearchConfig
from nasrun.engine.search import front_of
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.genotypes.nasbench201 import EDGES, OPERATIONS
from tests.compose import composed

DEVICES = ("gold_6226", "pixel2", "raspi4", "fpga", "eyeriss", "1080ti_1", "pi5_litert_cifar100")
DISCRETE = ("random", "local_search", "regularized_evolution", "genetic", "nsganet",
            "differential_evolution", "eaepso", "epcnas", "ridge_evolution")  # fmt: skip
ON_ALPHAS = ("egnas", "darts", "gdas", "setn")
FEW = 10  # measurements
SAID_EACH = 50  # searches
LATER = 600  # steps after which a search is taken for one without an end


@dataclass(frozen=True)
class Search:
    """The settings of one search."""

    strategy: str
    device: str
    share: float  # of all cells that are within the limit on the latency
    params_share: float | None
    is_predicted: bool
    seed: int


def drawn(rng: np.random.Generator, number: int) -> Search:
    return Search(
        strategy=str(rng.choice(DISCRETE + ON_ALPHAS)),
        device=str(rng.choice(DEVICES)),
        share=float(10 ** rng.uniform(-3.5, 0)),
        params_share=float(rng.uniform(0.2, 1)) if rng.random() < 0.3 else None,
        is_predicted=bool(rng.random() < 0.3),
        seed=number,
    )


@cache
def array(name: str, file: str = "nasbench201_hardware") -> np.ndarray:
    with np.load(Path(os.environ["NASRUN_DATA"]) / f"{file}.npz", allow_pickle=False) as arrays:
        found = np.asarray(arrays[name])
    return found.astype(np.float64) if found.dtype.kind == "f" else found


@cache
def rows() -> dict[tuple[int, ...], int]:
    return {tuple(ops): row for row, ops in enumerate(array("ops").tolist())}


def row_of(genotype: Any) -> int:
    found = {(edge.source, edge.target): edge.operation for edge in genotype.cells[0].edges}
    return rows()[tuple(OPERATIONS.index(found[edge]) for edge in EDGES)]


@cache
def settings_of(strategy: str) -> SearchConfig:
    words = [f"strategy={strategy}", "space=nasbench201", "evaluator=table", "dataset=cifar100"]
    words += ["budget.epochs=2", "retrain=none", "objective=table"]
    if strategy not in ON_ALPHAS:
        words.append("budget.evaluations=20")
    else:
        words.append("evaluator.accuracy_floor=0.5")
    return to_typed(composed([*words, "objective.column=latency_ms_raspi4"]), SearchConfig)


def result_of(search: Search) -> tuple[str, list[int], dict[str, float]]:
    """How a search ended, the rows of its result, and its limits by the names of the columns."""
    column = f"latency_ms_{search.device}"
    limits = {column: float(np.quantile(array(column), search.share))}
    if search.params_share is not None:
        params_R = array("params_cifar100", "nasbench201")
        limits["params_cifar100"] = float(np.quantile(params_R, search.params_share))
    settings = settings_of(search.strategy)
    objective = type(settings.objective)({**settings.objective, "column": column})
    constraint = ConstraintConfig(
        latency_ms=limits[column],
        params_m=limits["params_cifar100"] / 1e6 if search.params_share is not None else None,
        measurements=FEW if search.is_predicted else None,
    )
    own = replace(settings, objective=objective, constraint=constraint, seed=search.seed)
    try:
        wiring = Wiring(own)
        strategy = wiring.strategy
    except UsageError as error:
        if "no architecture" not in str(error):
            raise
        return "told before", [], limits
    for _ in range(LATER):
        if strategy.finished:
            break
        strategy.step()
    front = front_of(strategy, wiring.space, wiring.limits)
    return "found", [row_of(member.genotype) for member in front], limits


def possible(search: Search, limits: dict[str, float]) -> bool:
    """Whether a cell that depends on its input is within the limits, by a look at all of them."""
    within_R = connected()
    for name, at_most in limits.items():
        file = "nasbench201" if name.startswith("params") else "nasbench201_hardware"
        within_R = within_R & (array(name, file) <= at_most)
    return bool(within_R.any())


@cache
def connected() -> np.ndarray:
    """Whether the output depends on the input: a path of operations other than `none`."""
    there_RE = array("ops") != OPERATIONS.index("none")
    reached_R = {0: np.ones(len(there_RE), dtype=bool)}
    for node in (1, 2, 3):
        arriving = [there_RE[:, e] & reached_R[s] for e, (s, t) in enumerate(EDGES) if t == node]
        reached_R[node] = np.any(arriving, axis=0)
    return reached_R[3]


def broken(found: list[int], limits: dict[str, float]) -> list[str]:
    wrong = []
    for row in found:
        for name, at_most in limits.items():
            file = "nasbench201" if name.startswith("params") else "nasbench201_hardware"
            if not array(name, file)[row] <= at_most:
                wrong.append(f"row {row}: {name} {array(name, file)[row]} > {at_most}")
        if not connected()[row]:
            wrong.append(f"row {row}: its output does not depend on its input")
    return wrong


def trial(number: int) -> tuple[str, Search, list[str]]:
    search = drawn(np.random.default_rng(number), number)
    ended, found, limits = result_of(search)
    wrong = broken(found, limits)
    if (ended == "told before") == possible(search, limits) and not search.is_predicted:
        wrong.append(f"{ended}, and the table says otherwise")
    return ended, search, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    ended, faults, started = Counter[str](), 0, time.perf_counter()
    by_strategy = Counter[str]()
    last = arguments.first + arguments.searches - 1
    for number in range(arguments.first, last + 1):
        outcome, search, wrong = trial(number)
        ended[f"{outcome}{', predicted' if search.is_predicted else ''}"] += 1
        by_strategy[search.strategy] += 1
        faults += bool(wrong)
        for text in wrong:
            print(f"{number} {search}: {text}")
        if sum(ended.values()) % SAID_EACH == 0 or number == last:
            seconds = round(time.perf_counter() - started, 1)
            figures = {"searches": sum(ended.values()), "broken": faults, **ended}
            line = {**figures, "strategies": by_strategy, "seconds": seconds}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

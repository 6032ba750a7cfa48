"""Compare searches under a latency limit with the best that there is, on measured latencies.

For each device and limit the best CIFAR-100 cell of NAS-Bench-201 within it is found by looking at
all 15,625; then each method searches with a few labels. `dclenas, 10 latencies` knows those of
ten random cells, predicts the others, and buys what it must be certain of. Needs the tables
nasbench201 and nasbench201_hardware (see `nasrun data`). Each search is a line of `--out`; the last
line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

import timing
from nasrun.benchmarks import store
from nasrun.compute.device import Device
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.search import front_of
from nasrun.engine.wiring import Wiring
from nasrun.objectives.few_measurements import FewMeasurements
from nasrun.objectives.roster import roster_of
from nasrun.objectives.table import TableColumn
from nasrun.protocols.data import TaskShape
from nasrun.protocols.measure import MeasuredNetworks
from nasrun.protocols.space import NetworkSize
from nasrun.spaces.nasbench201 import NasBench201

DATASET = "cifar100"
LIMITS = {  # device -> limits in ms, and the test accuracy that was published for each
    "gold_6226": ((8.0, 67.3), (10.7, 70.2), (14.3, 72.1)),  # HELP (NeurIPS 2021)
    "pixel2": ((14.4, 68.53), (22.2, 72.08), (34.0, 73.5)),  # NASFLAT (2024)
}
DEVICES = ("gold_6226", "pixel2", "raspi4", "fpga", "1080ti_1", "pi5_onnx_cifar100")
CPU = Device("cpu", "float32", False)
METHODS = {  # name -> strategy, latencies that are known first (none: all are)
    "random": ("random", None),
    "nsganet": ("nsganet", None),
    "dclenas": ("dclenas", None),
    "dclenas, 10 latencies": ("dclenas", 10),
}


@dataclass(frozen=True)
class Best:
    """The best cells within a limit, in percent; of validation, and of test."""

    num_cells: int
    validation: float
    test: float


@dataclass(frozen=True)
class Found:
    """What one search has found, in percent."""

    method: str
    device: str
    limit_ms: float
    seed: int
    latency_ms: float
    validation: float
    test: float
    regret: float  # of the validation accuracy, to the best within the limit
    num_measurements: int  # of latencies; 0: all were known


def best(device: str, limit_ms: float) -> Best:
    """Look at all cells."""
    column = f"latency_ms_{device}"
    cost_R = store.load_costs("nasbench201", column).costs[column]
    columns = store.load("nasbench201", dataset=DATASET).columns(DATASET)
    within_R = cost_R <= limit_ms
    return Best(
        int(within_R.sum()),
        100 * float(columns.signal_R[within_R].max()),
        100 * float(columns.test_R[within_R].max()),
    )


@cache
def settings(strategy: str, labels: int) -> SearchConfig:
    words = [f"strategy={strategy}", "space=nasbench201", "evaluator=table", f"dataset={DATASET}"]
    words += [f"budget.evaluations={labels}", "retrain=none", "objective=table", "device=cpu"]
    return to_typed(compose("search", [*words, "objective.column=latency_ms_pixel2"]), SearchConfig)


def search(method: str, device: str, limit_ms: float, seed: int, labels: int) -> Found:
    strategy, measurements = METHODS[method]
    own, column = settings(strategy, labels), f"latency_ms_{device}"
    objective = type(own.objective)({**own.objective, "column": column})
    constraint = replace(own.constraint, latency_ms=limit_ms, measurements=measurements)
    wiring = Wiring(replace(own, objective=objective, constraint=constraint, seed=seed))
    while not wiring.strategy.finished:
        wiring.strategy.step()
    genotype = front_of(wiring.strategy, wiring.space, wiring.limits)[0].genotype
    columns = store.load("nasbench201", dataset=DATASET).columns(DATASET)
    row = store.load("nasbench201", dataset=DATASET).row(genotype)
    validation = 100 * float(columns.signal_R[row])
    costs = store.load_costs("nasbench201", column)
    return Found(
        method,
        device,
        limit_ms,
        seed,
        float(costs.costs[column][costs.row(genotype)]),
        validation,
        100 * float(columns.test_R[row]),
        best(device, limit_ms).validation - validation,
        0 if wiring.limits is None else wiring.limits.num_measurements,
    )


def summary(found: Sequence[Found]) -> Iterator[dict[str, object]]:
    """Yield means of each method within each limit, and how many searches found the best."""
    for device, limits in LIMITS.items():
        for limit_ms, published in limits:
            there = best(device, limit_ms)
            for method in METHODS:
                runs = [
                    one
                    for one in found
                    if (one.method, one.device, one.limit_ms) == (method, device, limit_ms)
                ]
                if not runs:
                    continue
                test_N = np.array([one.test for one in runs])
                yield {
                    "device": device,
                    "limit_ms": limit_ms,
                    "best_test": there.test,
                    "published_test": published,
                    "method": method,
                    "seeds": len(runs),
                    "test": float(test_N.mean()),
                    "test_std": float(test_N.std(ddof=1)) if len(runs) > 1 else None,
                    "regret": float(np.mean([one.regret for one in runs])),
                    "hits": sum(one.regret < 1e-9 for one in runs),
                    "broken": sum(one.latency_ms > limit_ms for one in runs),
                    "measurements": float(np.mean([one.num_measurements for one in runs])),
                    "most_measurements": max(one.num_measurements for one in runs),
                }


def ranking(device: str, num_measured: int, num_draws: int) -> dict[str, object]:
    """Measure how well a latency is predicted from few: the mean over draws, on all other cells."""
    from scipy.stats import spearmanr

    space = NasBench201(channels=16, cells=5, partial_channels=1)
    networks = MeasuredNetworks(space, TaskShape(3, (32, 32), 100), NetworkSize(), CPU)
    column = TableColumn(networks, column=f"latency_ms_{device}", file=None)
    roster = roster_of(space)
    assert roster is not None
    true_N = np.array([column.measure(genotype) for genotype in roster.genotypes])
    flops_N = np.array(
        [space.params_and_flops(one, networks.shape, networks.size)[1] for one in roster.genotypes]
    )
    (connected,) = np.nonzero(roster.connected_N)
    figures = []
    for draw in range(num_draws):
        known = FewMeasurements(column, space)
        for place in np.random.default_rng(draw).choice(connected, num_measured, replace=False):
            known.measured(roster.genotypes[place])
        predicted_N = known.estimates(roster)[connected]
        error = np.abs(predicted_N - true_N[connected]).mean() / true_N[connected].mean()
        figures.append((float(spearmanr(predicted_N, true_N[connected])[0]), float(error)))
    spearman, error = np.mean(figures, axis=0)
    by_flops = float(spearmanr(flops_N[connected], true_N[connected])[0])
    return {
        "device": device,
        "measured": num_measured,
        "spearman": float(spearman),
        "relative_error": float(error),
        "spearman_of_flops": by_flops,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--out", type=Path, help="JSON lines; what is there is not repeated")
    parser.add_argument("--ranking", action="store_true", help="how well latencies are predicted")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.ranking:
        rows = [ranking(device, few, 20) for device in DEVICES for few in (10, 20)]
        for row in rows:
            print(row)
        timing.close({"rows": rows, **timing.machine(torch.device("cpu"), arguments.threads)})
        return
    lines = []
    if arguments.out is not None and arguments.out.exists():
        lines = arguments.out.read_text().splitlines()
    found = [Found(**json.loads(line)) for line in lines]
    done = {(one.method, one.device, one.limit_ms, one.seed) for one in found}
    for seed in range(arguments.seeds):
        for device, limits in LIMITS.items():
            for limit_ms, _ in limits:
                for method in arguments.methods:
                    if (method, device, limit_ms, seed) in done:
                        continue
                    found.append(search(method, device, limit_ms, seed, arguments.labels))
                    if arguments.out is not None:
                        with arguments.out.open("a") as file:
                            file.write(json.dumps(asdict(found[-1])) + "\n")
    rows = list(summary(found))
    for row in rows:
        print("  ".join(f"{value:.4g}" if isinstance(value, float) else str(value)
                        for value in row.values()))  # fmt: skip
    options = {**vars(arguments), "out": str(arguments.out)}
    timing.close({**options, **timing.machine(torch.device("cpu"), arguments.threads),
                  "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()

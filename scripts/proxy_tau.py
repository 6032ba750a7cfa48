#!/usr/bin/env python3
"""Measure how proxies rank random cells of NAS-Bench-201: Kendall's tau with what tables say.

    scripts/proxy_tau.py dataset=npz dataset.file=cifar10.npz dataset.name=cifar10 --cells 200

Arguments are overrides of `nasrun search`; the images are needed. The cells are the same for every
seed, which decides weights and images. A cell whose score is not finite is last. Columns of the
table `nasbench201_zero_cost` that bear the name of a proxy are compared with it, and with the
accuracy on the same cells. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.benchmarks import store
from nasrun.config import catalogue
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import SearchConfig
from nasrun.engine.wiring import Wiring
from nasrun.errors import UsageError
from nasrun.evaluators.table import TableEvaluator

WORDS = ("strategy=rank_by_proxy", "space=nasbench201", "evaluator=table")
COLUMNS = {"synflow": "log10_synflow"}  # other columns are called like their proxy
TABLE = "nasbench201_zero_cost"


def tau(first_N: np.ndarray, second_N: np.ndarray) -> float:
    pair = (np.where(np.isfinite(one), one, -np.inf) for one in (first_N, second_N))
    return float(kendalltau(*pair).statistic)


def wired(overrides: list[str], proxy: str, seed: int) -> Wiring:
    words = [*WORDS, *overrides, f"proxy={proxy}", f"seed={seed}"]
    return Wiring(to_typed(compose("search", words), SearchConfig))


def measured(
    overrides: list[str], proxy: str, seeds: list[int], num_cells: int
) -> dict[str, float | None]:
    """Return the mean taus of a proxy over the seeds, and how long a network takes."""
    found = list[tuple[float, float | None, float | None, float, int]]()
    for seed in seeds:
        wiring = wired(overrides, proxy, seed)
        evaluator = wiring.raw_evaluator
        assert isinstance(evaluator, TableEvaluator)
        rows = np.random.default_rng(0).permutation(evaluator.table.num_rows)[:num_cells]
        genotypes = [evaluator.table.genotype(row) for row in rows]
        wiring.zero_cost.values([wiring.space.largest()])  # loads images and libraries
        started = time.perf_counter()
        score_N = wiring.zero_cost.values(genotypes)[:, 0]
        seconds = (time.perf_counter() - started) / num_cells
        accuracy_N = evaluator.columns.test_R[rows]
        arrays = store.read_arrays(store.locate(TABLE))
        column_R = arrays.get(f"{wiring.dataset_name}_{COLUMNS.get(proxy, proxy)}")
        theirs = None if column_R is None else tau(column_R[rows], accuracy_N)
        alike = None if column_R is None else tau(column_R[rows], score_N)
        num_last = int((~np.isfinite(score_N)).sum())
        found.append((tau(score_N, accuracy_N), theirs, alike, seconds, num_last))
    names = ("accuracy", "of_column", "with_column", "seconds", "not_finite")
    columns = dict(zip(names, zip(*found, strict=True), strict=True))
    means = {
        name: None if values[0] is None else round(float(np.mean(values)), 4)
        for name, values in columns.items()
    }
    return {**means, "deviation": round(float(np.std(columns["accuracy"])), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    known = [one.name for one in catalogue.options("proxy", catalogue.conf_dir())]
    computed = [name for name in known if name != "table"]
    parser.add_argument("--proxies", nargs="+", default=computed, choices=computed)
    arguments = parser.parse_args()
    print("proxy        tau, accuracy   the column's   with the column   s a network   not finite")
    found = {}
    try:
        for proxy in arguments.proxies:
            one = measured(arguments.overrides, proxy, arguments.seeds, arguments.cells)
            found[proxy] = one
            theirs, alike = (
                "" if one[name] is None else f"{one[name]:.3f}"
                for name in ("of_column", "with_column")
            )
            print(
                f"{proxy:12} {one['accuracy']:.3f} +- {one['deviation']:.3f}  {theirs:14} "
                f"{alike:17} {one['seconds']:<13.4f} {one['not_finite']:.1f}",
                flush=True,
            )
    except UsageError as error:
        sys.exit(f"proxy_tau: {error}")
    print(json.dumps({"cells": arguments.cells, "seeds": arguments.seeds, "tau": found}))


if __name__ == "__main__":
    main()

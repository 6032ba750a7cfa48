#!/usr/bin/env python3
"""Compare strategies on an uneven classification: figures of the whole, and of each class.

    scripts/class_figures.py outputs/sweeps/<date>/<time> --baseline random

Seeds that not all strategies have are left out. Figures are percent, with 95 % percentile bootstrap
intervals of the mean; a difference to the baseline is one of runs of the same seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.report.statistics import compare, interval

Figures = dict[str, float]


def figures(result: Mapping[str, Any]) -> Figures:
    """Name -> percent, of one run."""
    retrain = result["retrain"]
    found = {
        "validation score of the search": result["search_val_score"],
        "test accuracy": retrain["test_accuracy"],
        "balanced accuracy": retrain["balanced_accuracy"],
        "macro F1": retrain["macro_f1"],
    }
    for one in retrain["classes"]:
        found[f"sensitivity of {one['name']} ({one['count']:,})"] = one["sensitivity"]
        found[f"positive predictivity of {one['name']}"] = one["positive_predictivity"]
    return {name: 100 * value for name, value in found.items() if value is not None}


def shown(values: np.ndarray) -> str:
    bounds = interval(values)
    return f"{values.mean():.1f}" + (f" ({bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--baseline", default="random")
    parsed = parser.parse_args()
    runs: dict[int, dict[str, Figures]] = defaultdict(dict)
    for path in sorted(parsed.folder.glob("*/result.json")):
        result = json.loads(path.read_text())
        runs[result["seed"]][result["strategy"]] = figures(result)
    names = sorted({name for found in runs.values() for name in found})
    seeds = sorted(seed for seed, found in runs.items() if set(found) == set(names))
    if not seeds or parsed.baseline not in names:
        sys.exit(f"{parsed.folder} has no seed with {parsed.baseline} and all other strategies")
    print(f"seeds {', '.join(map(str, seeds))}\n")
    print(f"| | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for figure in runs[seeds[0]][names[0]]:
        values = {name: np.array([runs[seed][name][figure] for seed in seeds]) for name in names}
        print(f"| {figure} | {' | '.join(shown(values[name]) for name in names)} |")
    print()
    for figure in ("test accuracy", "macro F1"):
        base = [runs[seed][parsed.baseline][figure] for seed in seeds]
        for name in names:
            if name != parsed.baseline:
                own = [runs[seed][name][figure] for seed in seeds]
                found = compare(own, base, higher_is_better=True)
                low, high = found.interval or (float("nan"), float("nan"))
                print(
                    f"{figure}, {name} less {parsed.baseline}: {found.difference:+.1f} "
                    f"({low:+.1f} to {high:+.1f}), {found.wins} of {found.n} seeds ahead"
                )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measure how the surrogates of evaluator=darts_landscape rank DARTS cells they have not seen.

    scripts/surrogate_tau.py --folds 5 --seeds 0 1 2 3 4

For each family: the mean over all folds and seeds of Kendall's tau with the true accuracies of the
fold that was left out, and the standard deviation over folds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.errors import UsageError
from nasrun.evaluators.darts_surrogates import Family, cross_validated, load


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", help="of trained cells; else darts_cells.npz where tables are")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="of the folds"
    )
    arguments = parser.parse_args()
    try:
        cells = load(arguments.file)
    except UsageError as error:
        sys.exit(f"surrogate_tau: {error}")
    found = {}
    for family in get_args(Family):
        taus = [cross_validated(family, cells, arguments.folds, seed) for seed in arguments.seeds]
        found[family] = {"mean": float(np.mean(taus)), "std": float(np.std(taus, ddof=1))}
        print(f"{family}: {np.mean(taus):.3f}, {np.std(taus, ddof=1):.3f} over folds")
    print(json.dumps({"cells": len(cells.accuracy_N), "folds": arguments.folds,
                      "seeds": arguments.seeds, "tau": found}))  # fmt: skip


if __name__ == "__main__":
    main()

"""The ranks and the test of hits that scripts/compare_runs.py tells, by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nasrun.benchmarks.table import Columns

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_runs.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("compare_runs", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["compare_runs"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_mean_ranks_are_those_of_the_regret_of_the_best_label_so_far(script, monkeypatch):
    """Four cells of regrets 0, 1, 2 and 3 percent; a label may be wrong about its cell."""
    columns = Columns(None, np.array([0.93, 0.92, 0.91, 0.90]), None)
    monkeypatch.setattr(script, "references", lambda runs: [])

    def run(strategy: str, seed: int, dataset: str, rows: list[int], errors: list[float]):
        return script.Run(
            {"strategy": strategy},
            {"seed": seed},
            dataset,
            rows,
            errors,
            columns,
            0,
            SimpleNamespace(),
        )

    runs = []
    for dataset in ("a", "b"):
        for seed in range(3):
            runs.append(run("first", seed, dataset, [3, 0], [0.10, 0.07]))
            runs.append(run("second", seed, dataset, [1, 2], [0.08, 0.09]))
            # in dataset b its label of cell 2 is too good, so that this cell is taken
            runs.append(
                run("third", seed, dataset, [2, 1], [0.01 if dataset == "b" else 0.09, 0.08])
            )
    lines = script.report(runs, [1, 2], "first", None)
    told = [line for line in lines if "mean ranks" in line]
    assert [line.partition(" (Friedman")[0] for line in told] == [
        # regrets after one label: 3, 1, 2 percent
        "mean ranks of the regret over 3 common seeds: second 1.00, third 2.00, first 3.00",
        # after two in a: 0, 1, 1 percent; in b 0, 1, 2
        "mean ranks of the regret over 3 common seeds: first 1.00, second 2.50, third 2.50",
        "mean ranks of the regret over 3 common seeds: second 1.00, third 2.00, first 3.00",
        "mean ranks of the regret over 3 common seeds: first 1.00, second 2.00, third 3.00",
        "\nmean ranks over 2 datasets, 1 labels: second 1.00, third 2.00, first 3.00",
        "\nmean ranks over 2 datasets, 2 labels: first 1.00, second 2.25, third 2.75",
    ]


def test_p_of_hits_looks_at_pairs_in_which_one_run_alone_has_the_hit(script):
    """Five of six such pairs are the first run's: 2 * (1 + 6) / 2^6."""

    def run(hit: bool) -> SimpleNamespace:
        return SimpleNamespace(regret=lambda num_labels: 0.0 if hit else 0.01)

    both, first, second = (run(True), run(True)), (run(True), run(False)), (run(False), run(True))
    assert script.p_of_hits([both] * 4 + [first] * 5 + [second], 30) == pytest.approx(14 / 64)
    assert script.p_of_hits([both] * 4, 30) == 1.0

#!/usr/bin/env python3
"""Compare searches on a benchmark table: hit rates, test accuracies, paired tests.

    scripts/compare_runs.py outputs/sweeps/<date>/<time> --at 30 50 100 --baseline local_search

Runs are grouped by the settings in which they differ, the seed apart; a pair of runs has the same
seed and data. A hit is the architecture with the best signal of the table among the labels; in
brackets stands the p of the exact McNemar test against the baseline. The other test is Wilcoxon's
signed rank test on the regret of the signal, ties included (Pratt), and the intervals are 95 %
bootstrap intervals of the mean difference to the baseline. With `--cluster KEY` (such as
predictor.encoder_seed) the values of KEY are drawn first, then runs within them;
`scipy.stats.bootstrap` knows no clusters. Of three groups or more the mean ranks of the regret on
the common seeds are told, 1 the best, on each dataset and over all of them. With `--averaged
DATASET` results on it are judged by the mean of the cells that compute the same, as runs are with
another evaluator.isomorphic than own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import binomtest, wilcoxon

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nasrun.benchmarks import store
from nasrun.benchmarks.table import Columns, Table
from nasrun.config import plugins
from nasrun.genotypes.genotype import Genotype
from nasrun.genotypes.published import named_cells
from nasrun.report.ranking import Ranking, rank

NUM_BOOTSTRAPS = 10_000
HIT = 1e-9  # a regret that is rounding


@dataclass
class Run:
    """One finished search, as far as its ledger goes."""

    settings: dict[str, str]
    config: dict[str, Any]
    dataset: str
    rows_L: list[int]  # of the table, in the order in which the labels were bought
    errors_L: list[float]
    columns: Columns
    result_row: int
    table: Table

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    def best_row(self, num_labels: int) -> int:
        bought = np.array([np.inf if e is None else e for e in self.errors_L[:num_labels]])
        return self.rows_L[int(bought.argmin())]

    def regret(self, num_labels: int) -> float:
        return self.columns.regret(self.best_row(num_labels))

    def test(self, num_labels: int) -> float:
        return float(self.columns.test_R[self.best_row(num_labels)])


def read(folder: Path, averaged: Sequence[str]) -> Run | None:
    """Read a run; return `None` for one that is not finished.

    Results on the datasets in `averaged` are judged by means of the cells that compute the same.
    """
    record = json.loads((folder / "run.json").read_text())
    if record["status"] != "done":
        return None
    result = json.loads((folder / "result.json").read_text())
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    table = store.load(result["space"], result["table"]["file"])
    columns = table.columns(result["dataset"])
    own = (config["evaluator"] or {}).get("isomorphic", "own") == "own"
    if table.has_copies and (not own or result["dataset"] in averaged):
        columns = columns.averaged(table.classes(plugins.build(config["space"]).canonical))
    ledger = folder / "evaluations.jsonl"
    text = ledger.read_text() if ledger.exists() else ""  # strategies on alphas buy no labels
    lines = [json.loads(line) for line in text.splitlines()]
    rows_L = [table.row(Genotype.from_json(line["genotype"])) for line in lines]
    return Run(
        dict(override.partition("=")[::2] for override in record["overrides"]),
        config,
        result["dataset"],
        rows_L,
        [line["values"][0] for line in lines],
        columns,
        table.row(Genotype.from_json(result["genotype"])),
        table,
    )


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by the settings in which they differ; data and seed pair the runs instead."""
    keys = [key for run in runs for key in run.settings if key not in ("seed", "dataset")]
    different = [
        key for key in dict.fromkeys(keys) if len({run.settings.get(key) for run in runs}) > 1
    ]
    groups = defaultdict(list)
    for run in runs:
        name = " ".join(run.settings[key] for key in different if key in run.settings)
        groups[name or "all"].append(run)
    return dict(groups)


def report(runs: Sequence[Run], at: Sequence[int], baseline: str, cluster: str | None) -> list[str]:
    """Write a table for each dataset and label count, of the runs that bought as many."""
    lines = []
    ranked: dict[int, list[Ranking]] = defaultdict(list)
    for dataset in sorted({run.dataset for run in runs}):
        of_dataset = [run for run in runs if run.dataset == dataset]
        names = grouped(of_dataset)
        if baseline not in names and len(names) > 1:
            sys.exit(f"--baseline {baseline} is none of the groups: {', '.join(names)}")
        for num_labels in at:
            groups = {
                name: [run for run in group if len(run.rows_L) >= num_labels]
                for name, group in names.items()
            }
            num_left_out = len(of_dataset) - sum(map(len, groups.values()))
            if num_left_out == len(of_dataset):
                continue
            note = f"; {num_left_out} runs bought fewer" if num_left_out else ""
            lines += [
                f"\n{dataset}, {num_labels} labels{note}",
                f"| {'method':<28} | n | hits % (p) | regret % | test % | "
                f"regret - {baseline} (95 %) | wins / ties / losses | p |",
                "|---|---|---|---|---|---|---|---|",
            ]
            for name, group in groups.items():
                if group:
                    lines.append(row(name, group, groups.get(baseline), num_labels, cluster))
            lines += [
                f"| {name:<28} | - | - | {100 * columns.regret(place):.3f} | "
                f"{100 * columns.test_R[place]:.3f} | - | - | - |"
                for name, columns, place in references(of_dataset)
            ]
            ranking = rank(dataset, regrets_of(groups, num_labels), higher_is_better=False)
            if ranking is not None:
                ranked[num_labels].append(ranking)
                lines.append(
                    f"mean ranks of the regret over {ranking.num_seeds} common seeds: "
                    f"{in_order(ranking.mean_ranks)} (Friedman's p {ranking.p:.2g})"
                )
    return [*lines, *report_ranks(ranked)]


def regrets_of(groups: Mapping[str, Sequence[Run]], num_labels: int) -> dict[str, dict[int, float]]:
    """Return the regret of each seed by the group's name; groups without runs are left out."""
    return {
        name: {run.seed: run.regret(num_labels) for run in group}
        for name, group in groups.items()
        if group
    }


def report_ranks(ranked: Mapping[int, Sequence[Ranking]]) -> list[str]:
    """Write the mean ranks over all datasets, of the methods that are on each of them."""
    lines = []
    for num_labels, rankings in ranked.items():
        tables = [one.mean_ranks for one in rankings]
        names = [name for name in tables[0] if all(name in other for other in tables)]
        means = {name: float(np.mean([one[name] for one in tables])) for name in names}
        if len(tables) > 1:
            over = f"{len(tables)} datasets, {num_labels} labels"
            lines.append(f"\nmean ranks over {over}: {in_order(means)}")
    return lines


def in_order(ranks: Mapping[str, float]) -> str:
    """Write ranks, the best first."""
    return ", ".join(f"{name} {ranks[name]:.2f}" for name in sorted(ranks, key=lambda n: ranks[n]))


def references(runs: Sequence[Run]) -> list[tuple[str, Columns, int]]:
    """Return name, columns and row of the cells that nobody needs to search for."""
    table, columns = runs[0].table, runs[0].columns
    known = dict(filter(None, [table.control()])) | named_cells(table.space)
    return [(f"{name}, no search", columns, table.row(cell)) for name, cell in known.items()]


def row(
    name: str, group: Sequence[Run], base: Sequence[Run] | None, labels: int, cluster: str | None
) -> str:
    regrets = np.array([run.regret(labels) for run in group])
    tests = 100 * np.array([run.test(labels) for run in group])
    cells = [
        f"{name:<28}",
        str(len(group)),
        f"{100 * np.mean(regrets < HIT):.1f}",
        f"{100 * regrets.mean():.3f}",
        f"{tests.mean():.3f} +- {tests.std(ddof=1) if len(tests) > 1 else 0:.3f}",
    ]
    if base is None or base is group:
        return f"| {' | '.join([*cells, '-', '-', '-'])} |"
    base_of = {run.seed: run for run in base}
    pairs = [(run, base_of[run.seed]) for run in group if run.seed in base_of]
    if not pairs:
        return f"| {' | '.join([*cells, 'no common seeds', '-', '-'])} |"
    cells[2] += f" ({p_of_hits(pairs, labels):.2g})"
    gains = np.array([a.regret(labels) - b.regret(labels) for a, b in pairs])
    gains[np.abs(gains) < HIT] = 0.0
    clusters = [value_of(run.config, cluster) for run, _ in pairs] if cluster else None
    low, high = interval(gains, clusters)
    p = wilcoxon(gains, zero_method="pratt").pvalue if gains.any() else 1.0
    wins, losses = int((gains < 0).sum()), int((gains > 0).sum())
    cells.append(f"{100 * gains.mean():+.3f} ({100 * low:+.3f}, {100 * high:+.3f})")
    cells.append(f"{wins} / {len(gains) - wins - losses} / {losses}")
    return f"| {' | '.join([*cells, f'{p:.2g}'])} |"


def p_of_hits(pairs: Sequence[tuple[Run, Run]], labels: int) -> float:
    """Return the p of McNemar's exact test: which of a pair has the hit, where only one has it."""
    hits = [(one.regret(labels) < HIT, other.regret(labels) < HIT) for one, other in pairs]
    alone = [one for one, other in hits if one != other]
    return float(binomtest(sum(alone), len(alone)).pvalue) if alone else 1.0


def report_results(runs: Sequence[Run]) -> list[str]:
    """Say of searches without labels how good the architectures are that they came to."""
    lines = []
    for dataset in sorted({run.dataset for run in runs}):
        lines += [
            f"\n{dataset}",
            f"| {'setting':<34} | n | test % | mean (95 %) | percentile, mean / median |",
            "|---|---|---|---|---|",
        ]
        of_dataset = [run for run in runs if run.dataset == dataset]
        for name, group in grouped(of_dataset).items():
            rows = [(run.columns, run.result_row) for run in group]
            tests = 100 * np.array([columns.test_R[row] for columns, row in rows])
            percentiles = [columns.percentile(row) for columns, row in rows]
            spread = tests.std(ddof=1) if len(tests) > 1 else 0.0
            low, high = interval(tests, None)
            lines.append(
                f"| {name:<34} | {len(group)} | {tests.mean():.2f} +- {spread:.2f} | "
                f"{low:.2f} to {high:.2f} | {np.mean(percentiles):.1f} / "
                f"{np.median(percentiles):.1f} |"
            )
        lines += [
            f"| {name:<34} | - | {100 * columns.test_R[place]:.2f} | - | "
            f"{columns.percentile(place):.1f} |"
            for name, columns, place in references(of_dataset)
        ]
    return lines


def interval(values: np.ndarray, clusters: Sequence[object] | None) -> tuple[float, float]:
    """Return the bootstrap interval of the mean.

    Runs are drawn with replacement; where there are clusters, these first, and then runs within
    each.
    """
    rng = np.random.default_rng(0)
    if clusters is None:
        means = values[rng.integers(len(values), size=(NUM_BOOTSTRAPS, len(values)))].mean(axis=1)
    else:
        members = defaultdict(list)
        for value, one in zip(values.tolist(), clusters, strict=True):
            members[one].append(value)
        groups = [np.array(group) for group in members.values()]
        means = np.empty(NUM_BOOTSTRAPS)
        for i, drawn in enumerate(rng.integers(len(groups), size=(NUM_BOOTSTRAPS, len(groups)))):
            means[i] = np.concatenate([rng.choice(groups[k], len(groups[k])) for k in drawn]).mean()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def value_of(config: Any, key: str) -> object:
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) and part in config else None
    return config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="runs or sweeps")
    parser.add_argument("--at", nargs="+", type=int, default=[30, 50, 100], help="label counts")
    parser.add_argument("--baseline", default="ridge_evolution", help="a group's name")
    parser.add_argument("--cluster", help="a key of the configuration whose values are drawn")
    parser.add_argument("--averaged", nargs="*", default=[], help="datasets, by means of classes")
    arguments = parser.parse_args()
    files = sorted(file for folder in arguments.folders for file in folder.rglob("run.json"))
    found = (read(file.parent, arguments.averaged) for file in files)
    runs = [run for run in found if run is not None]
    if not runs:
        sys.exit("no finished runs there")
    print(f"{len(runs)} finished runs of {len(files)}")
    buyers = [run for run in runs if run.rows_L]
    others = [run for run in runs if not run.rows_L]
    lines = report(buyers, arguments.at, arguments.baseline, arguments.cluster)
    print("\n".join([*lines, *report_results(others)]))


if __name__ == "__main__":
    main()
